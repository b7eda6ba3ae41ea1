#include "container/own_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

// A line behind what is there, in one write. Only regular files: a FIFO of the image would hold us.
Status AddLine(int root_fd, const std::string& path, const std::string& line) {
  Result<sys::UniqueFd> file = sys::OpenInRoot(root_fd, path, O_RDWR | O_NONBLOCK | O_NOCTTY);
  if (file.code() == StatusCode::kNotFound) return {};
  if (!file.ok()) return file.status();
  struct stat info {};
  if (::fstat(file->get(), &info) != 0) return ErrnoError(errno, "stat " + path);
  if (!S_ISREG(info.st_mode)) return {};
  char last = '\n';
  if (info.st_size > 0 && ::pread(file->get(), &last, 1, info.st_size - 1) != 1)
    return ErrnoError(errno, "read " + path);
  const std::string text = (last == '\n' ? "" : "\n") + line + "\n";
  if (::pwrite(file->get(), text.data(), text.size(), info.st_size) != static_cast<ssize_t>(text.size())) {
    return ErrnoError(errno, "write " + path);
  }
  return {};
}

}  // namespace

Status AddMtab(int root_fd, uint32_t owner) {
  Result<sys::UniqueFd> etc = sys::OpenInRoot(root_fd, "/etc", O_PATH | O_DIRECTORY);
  if (!etc.ok()) return {};  // none, or no directory: the image's concern
  if (::symlinkat("/proc/mounts", etc->get(), "mtab") != 0) {
    return errno == EEXIST || errno == EROFS ? Status() : ErrnoError(errno, "make /etc/mtab");
  }
  if (::fchownat(etc->get(), "mtab", owner, owner, AT_SYMLINK_NOFOLLOW) != 0)
    return ErrnoError(errno, "chown /etc/mtab");
  return {};
}

Status AddUserEntry(int root_fd, const User& user) {
  if (!user.has_entry && user.uid != 0) {
    RETURN_IF_ERROR(AddLine(root_fd, "/etc/passwd",
                            fmt::format("{0}:x:{0}:{1}:{0}:{2}:/sbin/nologin", user.uid, user.gid, user.home)));
  }
  if (!user.group_has_entry && user.gid != 0) {
    RETURN_IF_ERROR(AddLine(root_fd, "/etc/group", fmt::format("{0}:x:{0}:", user.gid)));
  }
  return {};
}

}  // namespace davit::container
