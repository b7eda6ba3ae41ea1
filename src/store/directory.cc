#include "store/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::store {

Result<Directory> Directory::OpenBelow(int parent, const std::string& name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if (parent != AT_FDCWD) how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  sys::UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, parent, name.c_str(), &how, sizeof how)));
  if (!fd.valid()) {
    if (errno == EXDEV) return FailedPrecondition(fmt::format("{} is a mount point", Printable(name)));
    return ErrnoError(errno, fmt::format("open directory {}", Printable(name)));
  }
  DIR* stream = ::fdopendir(fd.get());
  if (stream == nullptr) return ErrnoError(errno, fmt::format("read directory {}", Printable(name)));
  (void)fd.release();  // the stream's now
  return Directory(stream);
}

Result<Directory> Directory::OpenParent(int directory) {
  sys::UniqueFd fd(::openat(directory, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, "open directory ..");
  DIR* stream = ::fdopendir(fd.get());
  if (stream == nullptr) return ErrnoError(errno, "read directory ..");
  (void)fd.release();
  return Directory(stream);
}

long Directory::Tell() const { return ::telldir(stream_); }
void Directory::Seek(long offset) { ::seekdir(stream_, offset); }

Directory& Directory::operator=(Directory&& other) noexcept {
  std::swap(stream_, other.stream_);
  return *this;
}

Directory::~Directory() {
  if (stream_ != nullptr) ::closedir(stream_);
}

Result<std::optional<std::string>> Directory::Next() {
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream_);
    if (entry == nullptr) {
      if (errno != 0) return ErrnoError(errno, "read directory");
      return std::optional<std::string>();
    }
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") return std::optional<std::string>(name);
  }
}

int Directory::fd() const { return ::dirfd(stream_); }

}  // namespace davit::store
