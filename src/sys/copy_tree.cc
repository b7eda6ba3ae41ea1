#include "sys/copy_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxDepth = 100;
constexpr size_t kMaxAttributes = 64 << 10;  // what the kernel keeps for one file (XATTR_LIST_MAX)

// What containers may set, or need: not trusted.overlay.*, which is the layers' own.
bool IsCopied(std::string_view name) {
  return name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_acl_");
}

class TreeCopy {
 public:
  TreeCopy(const CopyLimits& limits, Deadline deadline) : limits_(limits), deadline_(deadline) {}

  Status Directory(int from, int to, size_t depth) {
    if (depth > kMaxDepth) return ResourceExhausted("more than 100 levels of directories");
    int fd = ::openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // a place in the directory of its own
    if (fd < 0) return ErrnoError(errno, "open directory");
    std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd), ::closedir);
    if (!dir) {
      int err = errno;
      ::close(fd);
      return ErrnoError(err, "read directory");
    }
    errno = 0;
    while (dirent* entry = ::readdir(dir.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") RETURN_IF_ERROR(Entry(from, name, to, name, depth));
      errno = 0;
    }
    if (errno != 0) return ErrnoError(errno, "read directory");
    struct stat info {};
    if (::fstat(from, &info) != 0) return ErrnoError(errno, "stat directory");
    return Metadata(from, to, info, "directory");
  }

  Status NoDirectory(int from, const std::string& name, int to, const std::string& as, const struct stat& info) {
    if (S_ISREG(info.st_mode)) return File(from, name, to, as, info);
    if (S_ISSOCK(info.st_mode)) return {};
    if (S_ISLNK(info.st_mode)) {
      RETURN_IF_ERROR(Link(from, name, to, as));
    } else {
      if (::mknodat(to, as.c_str(), info.st_mode, info.st_rdev) != 0) return Error(as);
      if (::fchmodat(to, as.c_str(), info.st_mode & 07777, 0) != 0) return Error(as);
    }
    if (::fchownat(to, as.c_str(), info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW) != 0) return Error(as);
    std::array<timespec, 2> times = {info.st_atim, info.st_mtim};
    return ::utimensat(to, as.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) == 0 ? Status() : Error(as);
  }

 private:
  Status Entry(int from, const std::string& name, int to, const std::string& as, size_t depth) {
    if (++entries_ > limits_.entries) {
      return ResourceExhausted("more than " + std::to_string(limits_.entries) + " files");
    }
    if (deadline_.expired()) return DeadlineExceeded("copying took too long");
    struct stat info {};
    if (::fstatat(from, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return Error(name);
    if (S_ISDIR(info.st_mode)) return Subdirectory(from, to, name, depth);
    return NoDirectory(from, name, to, as, info);
  }

  Status Subdirectory(int from, int to, const std::string& name, size_t depth) {
    if (::mkdirat(to, name.c_str(), 0700) != 0) return Error(name);
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd source(::openat(from, name.c_str(), kFlags));
    UniqueFd target(source.valid() ? ::openat(to, name.c_str(), kFlags) : -1);
    if (!target.valid()) return Error(name);
    Status copied = Directory(source.get(), target.get(), depth + 1);
    return copied.ok() ? copied : Status(copied.code(), Printable(name) + "/" + copied.message());
  }

  Status Link(int from, const std::string& name, int to, const std::string& as) {
    std::array<char, 4096> target{};
    ssize_t size = ::readlinkat(from, name.c_str(), target.data(), target.size() - 1);
    if (size < 0 || ::symlinkat(target.data(), to, as.c_str()) != 0) return Error(as);
    return {};
  }

  Status File(int from, const std::string& name, int to, const std::string& as, const struct stat& info) {
    bytes_ += static_cast<uint64_t>(info.st_size);
    if (bytes_ > limits_.bytes) return ResourceExhausted("more than " + std::to_string(limits_.bytes) + " bytes");
    UniqueFd source(::openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!source.valid()) return Error(name);
    UniqueFd target(::openat(to, as.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!target.valid()) return Error(as);
    constexpr size_t kChunk = 8 << 20;  // between two looks at the clock
    for (off_t left = info.st_size; left > 0;) {
      ssize_t n = ::sendfile(target.get(), source.get(), nullptr, kChunk);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Error(name);
      if (n == 0) break;
      left -= n;
      if (deadline_.expired()) return DeadlineExceeded("copying took too long");
    }
    return Metadata(source.get(), target.get(), info, name);
  }

  // Owner first: a change of owner takes set-user-id and capabilities away.
  static Status Metadata(int from, int to, const struct stat& info, const std::string& name) {
    if (::fchown(to, info.st_uid, info.st_gid) != 0 || ::fchmod(to, info.st_mode & 07777) != 0) return Error(name);
    RETURN_IF_ERROR(Attributes(from, to, name));
    std::array<timespec, 2> times = {info.st_atim, info.st_mtim};
    return ::futimens(to, times.data()) == 0 ? Status() : Error(name);
  }

  static Status Attributes(int from, int to, const std::string& name) {
    std::string names(kMaxAttributes, '\0');
    ssize_t size = ::flistxattr(from, names.data(), names.size());
    if (size < 0) return errno == ENOTSUP ? Status() : Error(name);
    names.resize(static_cast<size_t>(size));
    std::string value;
    for (const std::string& attribute : Split(names, '\0')) {
      if (!IsCopied(attribute)) continue;
      value.resize(kMaxAttributes);
      ssize_t length = ::fgetxattr(from, attribute.c_str(), value.data(), value.size());
      if (length < 0) return Error(name);
      if (::fsetxattr(to, attribute.c_str(), value.data(), static_cast<size_t>(length), 0) != 0 && errno != ENOTSUP) {
        return Error(name);
      }
    }
    return {};
  }

  static Status Error(const std::string& name) { return ErrnoError(errno, Printable(name, 512)); }

  CopyLimits limits_;
  Deadline deadline_;
  uint64_t entries_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace

Status CopyTree(int from, int to, const CopyLimits& limits, Deadline deadline) {
  return TreeCopy(limits, deadline).Directory(from, to, 0);
}

Status CopyFileAt(int from, const std::string& name, int to, const std::string& as, const CopyLimits& limits,
                  Deadline deadline) {
  struct stat info {};
  if (::fstatat(from, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(errno, Printable(name, 512));
  if (S_ISDIR(info.st_mode)) return InvalidArgument(Printable(name, 512) + " is a directory");
  return TreeCopy(limits, deadline).NoDirectory(from, name, to, as, info);
}

}  // namespace davit::sys
