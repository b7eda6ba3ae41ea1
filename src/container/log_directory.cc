#include "container/log_directory.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/strings.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::container {

Status MakeLogDirectories(const std::string& log_directory, const std::string& log_path) {
  RETURN_IF_ERROR(sys::MakeDirectories(log_directory, 0755));
  ASSIGN_OR_RETURN(sys::UniqueFd at, sys::Open(log_directory, O_PATH | O_DIRECTORY));
  std::vector<std::string> parts = Split(log_path, '/');
  const std::string name = parts.back();
  parts.pop_back();
  std::string walked = log_directory;
  for (const std::string& part : parts) {
    if (part.empty() || part == ".") continue;
    walked += "/" + part;
    if (part == "..") return InvalidArgument("log_path \"" + Printable(log_path) + "\" contains \"..\"");
    if (::mkdirat(at.get(), part.c_str(), 0755) != 0 && errno != EEXIST) {
      return ErrnoError(errno, "make log directory " + walked);
    }
    sys::UniqueFd next(::openat(at.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    // O_DIRECTORY makes ENOTDIR of a link.
    if (!next.valid() && (errno == ENOTDIR || errno == ELOOP)) {
      return FailedPrecondition("log_path: " + walked + " is a symbolic link or no directory");
    }
    if (!next.valid()) return ErrnoError(errno, "open log directory " + walked);
    at = std::move(next);
  }
  // The monitor opens it without following a link; here it can be said in words.
  struct stat st {};
  bool exists = ::fstatat(at.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists && !S_ISREG(st.st_mode))
    return FailedPrecondition("log_path: " + walked + "/" + name + " is no regular file");
  return {};
}

}  // namespace davit::container
