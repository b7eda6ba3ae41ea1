// TarStream: a tar (POSIX ustar) written as it comes, of files whose sizes are known before their bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::api {

class TarStream {
 public:
  explicit TarStream(std::function<Status(std::string_view)> write) : write_(std::move(write)) {}

  // Directories on the way to it come first. kInternal when the file before lacks bytes; kInvalidArgument: the name is
  // longer than ustar's 255.
  Status BeginFile(const std::string& path, uint64_t size);
  Status Data(std::string_view bytes);
  Status Finish();

 private:
  Status Pad();
  Status Directories(const std::string& path);

  const std::function<Status(std::string_view)> write_;
  std::set<std::string> directories_;
  uint64_t left_ = 0;
  uint64_t pad_ = 0;
};

}  // namespace davit::api
