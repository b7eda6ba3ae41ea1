#include "image/tree_archive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/strings.h"
#include "image/whiteouts.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxAttributes = 64 << 10;  // what the kernel keeps for one file (XATTR_LIST_MAX)
constexpr size_t kMaxLinked = 1'000'000;
constexpr size_t kPiece = 256 << 10;
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

// Not in <linux/magic.h> everywhere.
constexpr std::array<unsigned long, 13> kKernelFilesystems = {PROC_SUPER_MAGIC,
                                                              SYSFS_MAGIC,
                                                              CGROUP_SUPER_MAGIC,
                                                              CGROUP2_SUPER_MAGIC,
                                                              DEVPTS_SUPER_MAGIC,
                                                              DEBUGFS_MAGIC,
                                                              TRACEFS_MAGIC,
                                                              SECURITYFS_MAGIC,
                                                              SELINUX_MAGIC,
                                                              BPF_FS_MAGIC,
                                                              0x62656572 /* configfs */,
                                                              0x19800202 /* mqueue */,
                                                              0xde5e81e4 /* efivarfs */};

bool IsKept(std::string_view name) {
  if (name.starts_with("user.overlay.")) return false;
  return name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_acl_");
}

std::string Join(const std::string& name, const std::string& base) {
  return name.empty() || name.ends_with('/') ? name + base : name + "/" + base;
}

}  // namespace

bool IsKernelFilesystem(int fd) {
  struct statfs info {};
  if (::fstatfs(fd, &info) != 0) return false;
  const auto type = static_cast<unsigned long>(info.f_type) & 0xffffffffUL;
  return std::find(kKernelFilesystems.begin(), kKernelFilesystems.end(), type) != kKernelFilesystems.end();
}

TarEntry TreeArchive::Describe(const struct stat& info, const std::string& name) const {
  TarEntry entry;
  entry.name = name;
  entry.mode = info.st_mode & 07777;
  entry.uid = options_.ids.Inside(info.st_uid);
  entry.gid = options_.ids.Inside(info.st_gid);
  entry.mtime_seconds = info.st_mtim.tv_sec;
  return entry;
}

Status TreeArchive::Attributes(int fd, TarEntry& entry) const {
  std::string names(kMaxAttributes, '\0');
  const ssize_t size = ::flistxattr(fd, names.data(), names.size());
  if (size < 0) return errno == ENOTSUP ? Status() : ErrnoError(errno, "list attributes of " + Printable(entry.name));
  names.resize(static_cast<size_t>(size));
  std::string value;
  for (const std::string& attribute : Split(names, '\0')) {
    if (options_.layer && attribute == "trusted.overlay.redirect") {
      return FailedPrecondition("\"" + Printable(entry.name, 300) +
                                "\" was renamed as only the node's overlayfs can say it (redirect_dir)");
    }
    if (!IsKept(attribute)) continue;
    value.resize(kMaxAttributes);
    const ssize_t length = ::fgetxattr(fd, attribute.c_str(), value.data(), value.size());
    if (length < 0) continue;  // gone meanwhile
    entry.xattrs.emplace_back(attribute, value.substr(0, static_cast<size_t>(length)));
  }
  return {};
}

Status TreeArchive::AddRoot(int directory) {
  sys::UniqueFd fd(::openat(directory, ".", kDirectoryFlags));
  if (!fd.valid()) return ErrnoError(errno, "open the root");
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(errno, "stat the root");
  TarEntry entry = Describe(info, "./");
  entry.type = TarType::kDirectory;
  RETURN_IF_ERROR(Attributes(fd.get(), entry));
  ++entries_;
  RETURN_IF_ERROR(tar_.Begin(entry));
  return Content(fd.get(), "", "");
}

Status TreeArchive::Add(int directory, const std::string& base, const std::string& name) {
  return Entry(directory, base, name, "");
}

bool TreeArchive::IsLeftOut(int directory, const std::string& base, const struct stat& info,
                            const std::string& path) const {
  if (options_.leave_out.count(path) == 0) return false;
  if (S_ISREG(info.st_mode)) return info.st_size == 0;
  if (!S_ISDIR(info.st_mode)) return false;
  sys::UniqueFd fd(::openat(directory, base.c_str(), kDirectoryFlags));
  Result<std::vector<std::string>> names =
      fd.valid() ? sys::NamesIn(fd.get()) : Result<std::vector<std::string>>(NotFound(""));
  return names.ok() && names->empty();
}

Status TreeArchive::Entry(int directory, const std::string& base, const std::string& name, const std::string& path) {
  if (name.size() > kMaxPath) return ResourceExhausted("a path of more than 4095 bytes: " + Printable(name, 200));
  sys::UniqueFd handle(::openat(directory, base.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!handle.valid() || ::fstat(handle.get(), &info) != 0) return ErrnoError(errno, "open " + Printable(name, 300));
  if (options_.layer) {
    if (IsWhiteout(info)) {
      const size_t slash = name.rfind('/');
      const std::string parent = slash == std::string::npos ? "" : name.substr(0, slash + 1);
      return Whiteout(parent + ".wh." + base);
    }
    // A layer has no other way to say such a name: it would delete something.
    if (base.starts_with(".wh.") || IsLeftOut(directory, base, info, path)) return {};
  }
  if (S_ISDIR(info.st_mode)) {
    sys::UniqueFd fd(::openat(handle.get(), ".", kDirectoryFlags));
    if (!fd.valid()) return ErrnoError(errno, "open " + Printable(name, 300));
    return Directory(fd.get(), name, path);
  }
  if (S_ISSOCK(info.st_mode)) return {};
  ++entries_;
  if (info.st_nlink > 1 && !S_ISLNK(info.st_mode)) {
    auto [first, fresh] = linked_.try_emplace({info.st_dev, info.st_ino}, name);
    if (!fresh) {
      TarEntry entry = Describe(info, name);
      entry.type = TarType::kHardLink;
      entry.link_name = first->second;
      return tar_.Begin(entry);
    }
    if (linked_.size() > kMaxLinked) linked_.erase(first);  // the next ones become files of their own
  }
  if (S_ISREG(info.st_mode)) return File(handle.get(), info, name);
  TarEntry entry = Describe(info, name);
  if (S_ISLNK(info.st_mode)) {
    entry.type = TarType::kSymlink;
    entry.link_name.resize(kMaxPath + 1);
    const ssize_t n = ::readlinkat(handle.get(), "", entry.link_name.data(), entry.link_name.size());
    if (n < 0) return ErrnoError(errno, "read link " + Printable(name, 300));
    entry.link_name.resize(static_cast<size_t>(n));
  } else {
    entry.type = S_ISFIFO(info.st_mode)  ? TarType::kFifo
                 : S_ISCHR(info.st_mode) ? TarType::kCharDevice
                                         : TarType::kBlockDevice;
    entry.device_major = major(info.st_rdev);
    entry.device_minor = minor(info.st_rdev);
  }
  return tar_.Begin(entry);
}

Status TreeArchive::Directory(int fd, const std::string& name, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return ErrnoError(errno, "stat " + Printable(name, 300));
  TarEntry entry = Describe(info, name);
  entry.type = TarType::kDirectory;
  const bool kernel = IsKernelFilesystem(fd);
  if (!kernel) RETURN_IF_ERROR(Attributes(fd, entry));
  ++entries_;
  RETURN_IF_ERROR(tar_.Begin(entry));
  if (kernel) return {};
  if (options_.layer && IsOpaque(fd)) RETURN_IF_ERROR(Whiteout(name + "/.wh..wh..opq"));
  return Content(fd, name, path);
}

Status TreeArchive::Content(int fd, const std::string& name, const std::string& path) {
  ASSIGN_OR_RETURN_WITH(std::vector<std::string> names, sys::NamesIn(fd), Printable(name, 300));
  for (const std::string& base : names) {
    Status status = Entry(fd, base, Join(name, base), Join(path, base));
    // Gone since the directory was read, as files of a running container come and go.
    if (!status.ok() && status.code() != StatusCode::kNotFound) return status;
  }
  return {};
}

Status TreeArchive::File(int handle, const struct stat& info, const std::string& name) {
  sys::UniqueFd fd(::open(fmt::format("/proc/self/fd/{}", handle).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, "open " + Printable(name, 300));
  TarEntry entry = Describe(info, name);
  entry.size = static_cast<uint64_t>(info.st_size);
  RETURN_IF_ERROR(Attributes(fd.get(), entry));
  RETURN_IF_ERROR(tar_.Begin(entry));
  std::string buffer(std::min<uint64_t>(kPiece, std::max<uint64_t>(entry.size, 1)), '\0');
  for (uint64_t left = entry.size; left > 0;) {
    const ssize_t n = ::read(fd.get(), buffer.data(), std::min<uint64_t>(left, buffer.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read " + Printable(name, 300));
    if (n == 0) break;
    RETURN_IF_ERROR(tar_.Data(std::string_view(buffer).substr(0, static_cast<size_t>(n))));
    left -= static_cast<uint64_t>(n);
  }
  return tar_.Fill();
}

Status TreeArchive::Whiteout(const std::string& name) {
  TarEntry entry;
  entry.name = name;
  entry.mode = 0;
  ++entries_;
  return tar_.Begin(entry);
}

}  // namespace davit::image
