// TarWriter: a tar, one entry after the other: ustar headers (IEEE 1003.1), and PAX records (pax(1)) for what they have
// no room for: names over 100 bytes, large sizes and ids, extended attributes. Times are whole seconds.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "image/tar_reader.h"

namespace davit::image {

class TarWriter {
 public:
  using Sink = std::function<Status(std::string_view)>;
  explicit TarWriter(Sink sink) : sink_(std::move(sink)) {}

  // The header; then come `entry.size` bytes of data, for regular files. Sparse files are not known.
  Status Begin(const TarEntry& entry);
  // kInternal when there are more than the header says.
  Status Data(std::string_view bytes);
  // What is missing of the entry's data is written as zeros: a file that became shorter while it was read.
  Status Fill();
  // The end of the archive.
  Status Finish();

 private:
  Status Pad();

  Sink sink_;
  uint64_t left_ = 0;     // of the current entry's data
  uint32_t padding_ = 0;  // behind it
};

}  // namespace davit::image
