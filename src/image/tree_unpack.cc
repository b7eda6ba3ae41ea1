#include "image/tree_unpack.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/strings.h"
#include "sys/rooted.h"

namespace davit::image {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
constexpr size_t kMaxDirectories = 1'000'000;
constexpr int kMaxDepth = 512;  // of what is replaced: a descriptor a level

Status Refused(const std::string& name, const std::string& why) {
  return InvalidArgument("\"" + Printable(name, 300) + "\" of the archive: " + why);
}

Status Failed(const std::string& what, const std::string& name) {
  const int err = errno;
  const std::string text = what + " \"" + Printable(name, 300) + "\"";
  if (err == EROFS) return FailedPrecondition(text + ": the filesystem is read-only");
  if (err == ENOSPC || err == EDQUOT) return ResourceExhausted(text + ": no space left");
  return ErrnoError(err, text);
}

Result<std::string> CleanName(const std::string& name) {
  std::string out;
  for (const std::string& part : Split(name, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return Refused(name, "it has \"..\" in its name");
    if (part.size() > 255) return Refused(name, "a component of more than 255 bytes");
    out += (out.empty() ? "" : "/") + part;
  }
  return out;
}

std::string ParentOf(const std::string& clean) {
  const size_t slash = clean.rfind('/');
  return slash == std::string::npos ? "" : clean.substr(0, slash);
}
std::string BaseOf(const std::string& clean) { return clean.substr(clean.rfind('/') + 1); }

// rm -r by descriptor, following nothing and leaving mount points alone (EBUSY).
Status RemoveAt(int parent, const std::string& name, const std::string& shown, int depth) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return Failed("replace", shown);
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  if (errno != ENOTEMPTY && errno != EEXIST) return Failed("replace", shown);
  if (depth == 0) return ResourceExhausted("replace \"" + Printable(shown, 300) + "\": nested too deep");
  sys::UniqueFd fd(::openat(parent, name.c_str(), kDirectoryFlags));
  if (!fd.valid()) return Failed("replace", shown);
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(::dup(fd.get())), ::closedir);
  if (!dir) return Failed("replace", shown);
  while (dirent* item = ::readdir(dir.get())) {
    const std::string child = item->d_name;
    if (child == "." || child == "..") continue;
    RETURN_IF_ERROR(RemoveAt(fd.get(), child, shown, depth - 1));
  }
  return ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 ? Status() : Failed("replace", shown);
}

bool IsSet(std::string_view name) {
  if (name.starts_with("user.overlay.")) return false;
  return name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_acl_");
}

// A filesystem that has no such attributes does without, as other engines do it.
Status SetAttributes(int fd, const TarEntry& entry) {
  for (const auto& [key, value] : entry.xattrs) {
    if (!IsSet(key) || ::fsetxattr(fd, key.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno != ENOTSUP && errno != EPERM && errno != EINVAL)
      return Failed("set " + Printable(key, 100) + " of", entry.name);
  }
  return {};
}

timespec TimeOf(int64_t seconds, uint32_t nanos) {
  timespec time{};
  time.tv_sec = seconds;
  time.tv_nsec = nanos;
  return time;
}

}  // namespace

Status TreeUnpack::WriteAll(TarReader& tar) {
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<TarEntry> entry, tar.Next());
    if (!entry) return Finish();
    if (++entries_ > options_.max_entries) return ResourceExhausted("the archive has too many entries");
    RETURN_IF_ERROR(Write(*entry, tar));
  }
}

Status TreeUnpack::Write(const TarEntry& entry, TarReader& tar) {
  ASSIGN_OR_RETURN(const std::string clean, CleanName(entry.name));
  if (clean.empty()) {
    // The directory itself, which stays as it is: it is the container's.
    return entry.type == TarType::kDirectory ? Status() : Refused(entry.name, "it has no name");
  }
  ASSIGN_OR_RETURN(const Place place, Locate(clean));
  RETURN_IF_ERROR(Replace(entry, place));
  switch (entry.type) {
    case TarType::kRegular:
      return WriteFile(entry, place, tar);
    case TarType::kDirectory:
      return WriteDirectory(entry, place);
    case TarType::kHardLink:
      return WriteHardLink(entry, place);
    default:
      return WriteOther(entry, place);
  }
}

Result<sys::UniqueFd> TreeUnpack::OpenParent(const std::string& parent) {
  return sys::OpenInRoot(root_, directory_ + "/" + parent, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
}

// Those that are missing, one after the other: each is resolved anew, whatever the container does meanwhile.
Status TreeUnpack::MakeParents(const std::string& parent) {
  std::string path;
  for (const std::string& part : Split(parent, '/')) {
    ASSIGN_OR_RETURN(sys::UniqueFd above, OpenParent(path));
    path += (path.empty() ? "" : "/") + part;
    if (IsKernelFilesystem(above.get())) return FailedPrecondition(directory_ + "/" + path + ": not a place for files");
    if (::mkdirat(above.get(), part.c_str(), 0755) == 0) {
      if (::fchownat(above.get(), part.c_str(), Owner(0), Owner(0), AT_SYMLINK_NOFOLLOW) != 0)
        return Failed("chown", path);
    } else if (errno != EEXIST) {
      return Failed("make", path);
    }
  }
  return {};
}

Result<TreeUnpack::Place> TreeUnpack::Locate(const std::string& clean) {
  Place place{-1, BaseOf(clean), clean};
  const std::string parent = ParentOf(clean);
  for (size_t slash = parent.empty() ? std::string::npos : 0; slash != std::string::npos;) {
    slash = parent.find('/', slash + 1);
    if (links_.count(parent.substr(0, slash)) != 0) {
      return Refused(clean, "it lies below a symbolic link of the same archive");
    }
  }
  if (!cached_fd_.valid() || cached_parent_ != parent) {
    Result<sys::UniqueFd> fd = OpenParent(parent);
    if (fd.code() == StatusCode::kNotFound) {
      RETURN_IF_ERROR(MakeParents(parent));
      fd = OpenParent(parent);
    }
    if (!fd.ok()) return Refused(clean, fd.status().message());
    if (IsKernelFilesystem(fd->get())) {
      return FailedPrecondition(Printable(directory_ + "/" + parent, 300) + ": not a place for files");
    }
    cached_fd_ = std::move(*fd);
    cached_parent_ = parent;
  }
  place.parent = cached_fd_.get();
  return place;
}

Status TreeUnpack::Replace(const TarEntry& entry, const Place& place) {
  struct stat info {};
  if (::fstatat(place.parent, place.base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Status() : Failed("stat", place.clean);
  }
  const bool is_directory = S_ISDIR(info.st_mode);
  const bool becomes_directory = entry.type == TarType::kDirectory;
  if (is_directory && becomes_directory) return {};
  if (options_.no_overwrite_dir_non_dir && is_directory != becomes_directory) {
    return InvalidArgument(
        is_directory ? "cannot overwrite directory \"" + Printable(place.clean, 300) + "\" with non-directory"
                     : "cannot overwrite non-directory \"" + Printable(place.clean, 300) + "\" with directory");
  }
  links_.erase(place.clean);
  return RemoveAt(place.parent, place.base, place.clean, kMaxDepth);
}

Status TreeUnpack::WriteFile(const TarEntry& entry, const Place& place, TarReader& tar) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  sys::UniqueFd fd(::openat(place.parent, place.base.c_str(), kFlags, 0600));
  if (!fd.valid()) return Failed("create", place.clean);
  size_t next = 0;
  uint64_t room = 0;  // in the extent that is being filled
  for (;;) {
    ASSIGN_OR_RETURN(std::string_view piece, tar.Data());
    if (piece.empty()) break;
    while (!piece.empty()) {
      if (entry.sparse && room == 0) {
        if (next == entry.extents.size()) return Refused(entry.name, "data behind its map");
        room = entry.extents[next].length;
        if (::lseek(fd.get(), static_cast<off_t>(entry.extents[next++].offset), SEEK_SET) < 0) {
          return Failed("seek in", place.clean);
        }
      }
      const size_t size = entry.sparse ? std::min<uint64_t>(piece.size(), room) : piece.size();
      const ssize_t n = ::write(fd.get(), piece.data(), size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed("write", place.clean);
      piece.remove_prefix(static_cast<size_t>(n));
      if (entry.sparse) room -= static_cast<uint64_t>(n);
    }
  }
  if (entry.sparse && ::ftruncate(fd.get(), static_cast<off_t>(entry.size)) != 0) return Failed("extend", place.clean);
  // Owner first: a change of owner takes set-user-id and capabilities away.
  if (::fchown(fd.get(), Owner(entry.uid), Owner(entry.gid)) != 0) return Failed("chown", place.clean);
  if (::fchmod(fd.get(), entry.mode) != 0) return Failed("chmod", place.clean);
  RETURN_IF_ERROR(SetAttributes(fd.get(), entry));
  const timespec times[2] = {TimeOf(entry.mtime_seconds, entry.mtime_nanos),
                             TimeOf(entry.mtime_seconds, entry.mtime_nanos)};
  return ::futimens(fd.get(), times) == 0 ? Status() : Failed("set the time of", place.clean);
}

Status TreeUnpack::WriteDirectory(const TarEntry& entry, const Place& place) {
  if (::mkdirat(place.parent, place.base.c_str(), 0755) != 0 && errno != EEXIST) return Failed("make", place.clean);
  // A link that stands here by now is not followed.
  sys::UniqueFd fd(::openat(place.parent, place.base.c_str(), kDirectoryFlags));
  if (!fd.valid()) return Failed("open", place.clean);
  if (IsKernelFilesystem(fd.get())) return {};
  if (::fchown(fd.get(), Owner(entry.uid), Owner(entry.gid)) != 0) return Failed("chown", place.clean);
  if (::fchmod(fd.get(), entry.mode) != 0) return Failed("chmod", place.clean);
  RETURN_IF_ERROR(SetAttributes(fd.get(), entry));
  if (directories_.size() >= kMaxDirectories) return ResourceExhausted("the archive has too many directories");
  directories_[place.clean] = {entry.mtime_seconds, entry.mtime_nanos};
  return {};
}

Status TreeUnpack::WriteHardLink(const TarEntry& entry, const Place& place) {
  ASSIGN_OR_RETURN(const std::string target, CleanName(entry.link_name));
  if (target.empty() || target == place.clean) return Refused(entry.name, "a hard link to what is no file of it");
  for (size_t slash = target.find('/'); slash != std::string::npos; slash = target.find('/', slash + 1)) {
    if (links_.count(target.substr(0, slash)) != 0) return Refused(entry.name, "a hard link through a symbolic link");
  }
  Result<sys::UniqueFd> directory = OpenParent(ParentOf(target));
  if (!directory.ok()) return Refused(entry.name, "a hard link to what is not there");
  if (::linkat(directory->get(), BaseOf(target).c_str(), place.parent, place.base.c_str(), 0) == 0) return {};
  if (errno == ENOENT) return Refused(entry.name, "a hard link to what is not there");
  return Failed("link", place.clean);
}

Status TreeUnpack::WriteOther(const TarEntry& entry, const Place& place) {
  if (entry.type == TarType::kSymlink) {
    if (::symlinkat(entry.link_name.c_str(), place.parent, place.base.c_str()) != 0) return Failed("link", place.clean);
    links_.insert(place.clean);
  } else {
    // Root of a user namespace may make no devices, and so nobody makes them for it.
    const bool fifo = entry.type == TarType::kFifo;
    if (!fifo && options_.ids.length != 0) return Refused(entry.name, "a device, in a user namespace");
    const mode_t type = fifo ? S_IFIFO : entry.type == TarType::kCharDevice ? S_IFCHR : S_IFBLK;
    const dev_t device = fifo ? 0 : ::makedev(entry.device_major, entry.device_minor);
    if (!fifo && type == S_IFCHR && device == 0) return Refused(entry.name, "the device 0/0, a whiteout of overlayfs");
    if (::mknodat(place.parent, place.base.c_str(), type | 0600, device) != 0) return Failed("make", place.clean);
  }
  if (::fchownat(place.parent, place.base.c_str(), Owner(entry.uid), Owner(entry.gid), AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed("chown", place.clean);
  }
  if (entry.type != TarType::kSymlink) {
    // fchmodat follows links, and one may stand here by now: by a descriptor that is none.
    sys::UniqueFd fd(::openat(place.parent, place.base.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!fd.valid() || ::fstat(fd.get(), &info) != 0 || S_ISLNK(info.st_mode)) return Failed("chmod", place.clean);
    if (::chmod(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), entry.mode) != 0)
      return Failed("chmod", place.clean);
  }
  const timespec times[2] = {TimeOf(entry.mtime_seconds, entry.mtime_nanos),
                             TimeOf(entry.mtime_seconds, entry.mtime_nanos)};
  IgnoreError(::utimensat(place.parent, place.base.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0 ? Status()
                                                                                             : Failed("", ""));
  return {};
}

// What cannot be found any more, the container has taken away.
Status TreeUnpack::Finish() {
  for (const auto& [clean, time] : directories_) {
    Result<sys::UniqueFd> parent = OpenParent(ParentOf(clean));
    if (!parent.ok()) continue;
    sys::UniqueFd fd(::openat(parent->get(), BaseOf(clean).c_str(), kDirectoryFlags));
    const timespec times[2] = {TimeOf(time.seconds, time.nanos), TimeOf(time.seconds, time.nanos)};
    if (fd.valid() && ::futimens(fd.get(), times) != 0) continue;
  }
  return {};
}

}  // namespace davit::image
