#include "image/whiteouts.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace davit::image {
namespace {

constexpr const char* kOpaque = "trusted.overlay.opaque";

}  // namespace

bool IsWhiteout(const struct stat& info) { return S_ISCHR(info.st_mode) && info.st_rdev == 0; }

bool IsOpaque(int directory) {
  char value = 0;
  return ::fgetxattr(directory, kOpaque, &value, 1) == 1 && value == 'y';
}

Status MarkOpaque(int directory) {
  return ::fsetxattr(directory, kOpaque, "y", 1, 0) == 0 ? Status() : ErrnoError(errno, "mark opaque");
}

Result<uint64_t> RemoveWhiteouts(int directory) {
  const int own = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own < 0) return ErrnoError(errno, "open directory");
  std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(own), ::closedir);
  if (!list) {
    const int error = errno;
    ::close(own);
    return ErrnoError(error, "read directory");
  }
  uint64_t removed = 0;
  errno = 0;
  while (dirent* entry = ::readdir(list.get())) {
    struct stat info {};
    // Of file systems that do not tell the kind, each is looked at.
    if ((entry->d_type == DT_CHR || entry->d_type == DT_UNKNOWN) &&
        ::fstatat(directory, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && IsWhiteout(info)) {
      if (::unlinkat(directory, entry->d_name, 0) != 0) return ErrnoError(errno, "remove whiteout");
      ++removed;
    }
    errno = 0;
  }
  if (errno != 0) return ErrnoError(errno, "read directory");
  return removed;
}

}  // namespace davit::image
