#include "native/rootfs.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/strings.h"
#include "sys/mounts.h"

namespace davit::native {
namespace {

constexpr unsigned kDetach = 2;  // MNT_DETACH of <sys/mount.h>, which clashes with <linux/mount.h>

Status Detach(const char* path) {
  return ::syscall(SYS_umount2, path, kDetach) == 0 ? Status() : ErrnoError(errno, std::string("unmount ") + path);
}

// The old root comes to lie on top of the new one, at ".", and is let go.
Status Pivot() {
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return ErrnoError(errno, "pivot_root");
  return Detach(".");
}

// For a root that cannot be pivoted away from (a ramfs): what is on it stays below us, without a name; what is mounted
// on it and shows the kernel (/proc, /sys) is taken away first, since a chroot(2) alone can be left by who may mount.
Status MoveRoot(int root) {
  ASSIGN_OR_RETURN(std::vector<sys::MountInfo> mounts, sys::ReadMountInfo());
  std::reverse(mounts.begin(), mounts.end());
  for (const sys::MountInfo& mount : mounts) {
    if (mount.mount_point == "/" || (mount.fs_type != "proc" && mount.fs_type != "sysfs")) continue;
    IgnoreError(Detach(mount.mount_point.c_str()));  // what is locked, or inside another that went, cannot be
  }
  if (::fchdir(root) != 0) return ErrnoError(errno, "enter the root");
  return ::chroot(".") == 0 ? Status() : ErrnoError(errno, "chroot");
}

Status SetRootPropagation(const std::string& wanted) {
  std::string kind = wanted.starts_with('r') ? wanted.substr(1) : wanted;
  unsigned long flag = kind == "shared" ? MS_SHARED : kind == "unbindable" ? MS_UNBINDABLE : 0;
  if (flag == 0) return {};  // slave and private: the caller's clone is that already
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open("/", O_PATH | O_DIRECTORY));
  // The root alone: a mount has what its own options say.
  return SetMountPropagation(root.get(), flag, false).Annotate("linux.rootfsPropagation");
}

}  // namespace

Status AttachRoot(int tree) {
  // Slave and not private: while we are at work an unmount on the node is one here, too, and finds nothing busy.
  if (::syscall(SYS_mount, nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return ErrnoError(errno, "make the node's mounts slaves");
  }
  // On top of "/", where it is in nobody's way: its descriptor is all that is used.
  if (::syscall(SYS_move_mount, tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return ErrnoError(errno, "attach the root");
  }
  return {};
}

Status EnterRoot(const RootSetup& setup, bool no_pivot) {
  if (::fchdir(setup.root) != 0) return ErrnoError(errno, "enter the root");
  RETURN_IF_ERROR(no_pivot ? MoveRoot(setup.root) : Pivot());
  if (::chdir("/") != 0) return ErrnoError(errno, "enter the root");
  RETURN_IF_ERROR(SetRootPropagation(setup.spec.linux_.rootfs_propagation));
  if (!setup.spec.root.readonly) return {};
  return SetAttributes(setup.root, {MOUNT_ATTR_RDONLY, 0}, false).Annotate("make the root read-only");
}

}  // namespace davit::native
