// ArchiveOutput: where the files of an archive of images go. One tar file (or a pipe), or a directory. What was named
// as the target is there whole or not at all, but for a pipe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::cli {

class ArchiveOutput {
 public:
  virtual ~ArchiveOutput() = default;
  // A file of `size` bytes, which Write brings. kDataLoss when the one before is not complete; kInvalidArgument for a
  // path that leads out of the archive.
  virtual Status Begin(const std::string& path, uint64_t size) = 0;
  virtual Status Write(std::string_view bytes) = 0;
  // The archive is whole.
  virtual Status Finish() = 0;
};

// "-": standard output. A file is written beside its place and renamed; without Finish it goes.
Result<std::unique_ptr<ArchiveOutput>> MakeTarOutput(const std::string& path);
// Made, or there and empty; a directory with something in it is kFailedPrecondition. Without Finish what was written
// goes.
Result<std::unique_ptr<ArchiveOutput>> MakeDirectoryOutput(const std::string& path);

// The header of a regular file in a tar (IEEE 1003.1 ustar; a size over 8 GiB in base 256). `path` of at most 100
// bytes.
std::string TarHeader(const std::string& path, uint64_t size);

}  // namespace davit::cli
