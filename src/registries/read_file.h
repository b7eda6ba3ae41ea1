// ReadRegularFile: the text of a file that an administrator has named.
#pragma once

#include <fmt/format.h>
#include <sys/stat.h>

#include <string>

#include "base/result.h"
#include "config/config.h"
#include "sys/unique_fd.h"

namespace davit::registries {

// kNotFound where nothing is, kFailedPrecondition for what cannot be read, is too large or is no regular file: a pull
// must not wait for somebody to write into a pipe.
inline Result<std::string> ReadRegularFile(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return FailedPrecondition(fmt::format("{}: is no regular file", path));
  }
  Result<std::string> text = sys::ReadFile(path, config::kMaxFileBytes);
  if (text.ok() || text.code() == StatusCode::kNotFound) return text;
  return FailedPrecondition(text.status().message());
}

}  // namespace davit::registries
