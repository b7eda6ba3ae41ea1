#include "store/upper_probe.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "store/filesystem.h"
#include "sys/atomic_file.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

// "overlay"; "unknown" when mountinfo does not tell.
std::string KindOf(const std::string& path) {
  std::string kind = "unknown";
  Result<std::string> mount_point = MountPointOf(path);
  Result<std::vector<sys::MountInfo>> mounts = sys::ReadMountInfo();
  if (!mount_point.ok() || !mounts.ok()) return kind;
  for (const sys::MountInfo& mount : *mounts) {
    if (mount.mount_point == *mount_point) kind = mount.fs_type;  // the last one is the one that is seen
  }
  return kind;
}

Status Unfit(const std::string& root, const std::string& why) {
  return FailedPrecondition(fmt::format(
      "containers cannot write to {}, which is on a file system of type {} ({}): choose a directory on a local file "
      "system such as ext4 or xfs (root in davit.toml, --root); for a davitd in a container, a volume",
      root, KindOf(root), why));
}

// Only what tomorrow will not change: a disk that is full or ill has nothing to do with its kind.
Status Failed(int error, const std::string& root, const std::string& step) {
  Status status = ErrnoError(error, step);
  if (error == EROFS) {
    return FailedPrecondition(fmt::format(
        "{} is read-only: mount it read-write, or choose another directory (root in davit.toml, --root)", root));
  }
  if (error == EINVAL || error == EOPNOTSUPP || error == EPERM || error == EXDEV) return Unfit(root, status.message());
  return status;
}

Status MakeTree(const std::string& base, const std::string& root) {
  for (const char* name : {"", "/lower", "/lower/gone", "/lower/replaced", "/upper", "/work", "/merged"}) {
    if (::mkdir((base + name).c_str(), 0700) != 0) return Failed(errno, root, "make directory " + base + name);
  }
  // Without such attributes overlayfs mounts all the same, and ends some operations with EIO; layers need them too.
  if (::setxattr((base + "/lower/replaced").c_str(), "trusted.overlay.opaque", "y", 1, 0) != 0) {
    return Failed(errno, root, "set trusted.overlay.opaque");
  }
  return {};
}

Status MountOver(const std::string& base, const std::string& root) {
  Status mounted = sys::MountOverlay({{base + "/lower"}, base + "/upper", base + "/work"}, base + "/merged");
  const bool unfit = mounted.code() == StatusCode::kInvalidArgument || mounted.code() == StatusCode::kPermissionDenied;
  return unfit ? Unfit(root, mounted.message()) : mounted;
}

// What programs do to an image's files: one is deleted (a whiteout; a directory does as well), a directory replaced by
// another (opaque).
Status Use(const std::string& base, const std::string& root) {
  const std::string merged = base + "/merged";
  if (::rmdir((merged + "/gone").c_str()) != 0) return Failed(errno, root, "make a whiteout");
  if (::rmdir((merged + "/replaced").c_str()) != 0) return Failed(errno, root, "make a whiteout");
  if (::mkdir((merged + "/replaced").c_str(), 0700) != 0) return Failed(errno, root, "make an opaque directory");
  return {};
}

Status Clean(const std::string& base) {
  RETURN_IF_ERROR(sys::Unmount(base + "/merged"));
  return sys::RemoveTree(base);
}

}  // namespace

Status ProbeUpper(const std::string& root) {
  const std::string base = root + "/overlay-probe";
  RETURN_IF_ERROR(Clean(base));
  Status status = MakeTree(base, root);
  if (status.ok()) status = MountOver(base, root);
  if (status.ok()) status = Use(base, root);
  return status.WithUndoError(Clean(base));
}

}  // namespace davit::store
