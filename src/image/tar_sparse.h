// Sparse files in tar archives: which pieces of a file the archive has. Everything between is a hole.
//
// Four ways of writing the map: GNU tar's own header type 'S', and in PAX headers its versions 0.0, 0.1 and 1.0, of
// which the last has the map in front of the data. Source: GNU tar's manual, "Storing Sparse Files". Maps have been a
// way to exhaust memory (CVE-2025-58183): they are capped, have to ascend, and have to agree with the sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::image {

struct SparseExtent {
  uint64_t offset = 0;
  uint64_t length = 0;
  friend bool operator==(const SparseExtent&, const SparseExtent&) = default;
};

class SparseMap {
 public:
  static constexpr size_t kMaxExtents = 262'144;            // 4 MiB
  static constexpr uint64_t kMaxFile = uint64_t{16} << 40;  // what ext4 takes

  // kInvalidArgument: not behind the one before; kResourceExhausted: a cap.
  Status Add(uint64_t offset, uint64_t length);
  // "offset,length,offset,length" (PAX 0.1).
  Status AddList(std::string_view list);
  // Checks it against the file's size and the number of bytes that the archive has of it.
  Status Check(uint64_t file_size, uint64_t stored) const;

  [[nodiscard]] const std::vector<SparseExtent>& extents() const { return extents_; }
  std::vector<SparseExtent> Take() { return std::move(extents_); }

 private:
  std::vector<SparseExtent> extents_;
  uint64_t end_ = 0;  // of the last one
  uint64_t stored_ = 0;
};

}  // namespace davit::image
