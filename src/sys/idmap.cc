#include "sys/idmap.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "base/strings.h"
#include "sys/mounts.h"

namespace davit::sys {
namespace {

constexpr unsigned kRecursive = 0x8000;  // AT_RECURSIVE of <linux/fcntl.h>, which clashes with <fcntl.h>

bool IsBelow(const std::string& path, const std::string& parent) {
  return parent == "/" || path == parent || (path.starts_with(parent) && path[parent.size()] == '/');
}

}  // namespace

Result<UniqueFd> CloneMountAt(int fd, const std::string& name, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? kRecursive : 0U);
  UniqueFd tree(static_cast<int>(::syscall(SYS_open_tree, fd, "", flags)));
  if (!tree.valid()) return ErrnoError(errno, "clone mount " + Printable(name, 512));
  return tree;
}

Result<UniqueFd> CloneMount(const std::string& path, bool recursive) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_PATH));
  return CloneMountAt(fd.get(), path, recursive);
}

Status SetIdmap(int tree, int user_namespace, const std::string& name, bool recursive) {
  mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(user_namespace);
  unsigned flags = AT_EMPTY_PATH | (recursive ? kRecursive : 0U);
  if (::syscall(SYS_mount_setattr, tree, "", flags, &attributes, sizeof attributes) == 0) return {};
  int err = errno;
  std::string what = "map the ids of " + Printable(name, 512);
  switch (err) {
    case EINVAL:
      return FailedPrecondition(what + ": its filesystem cannot (" + FilesystemsAt(name) +
                                (recursive ? "; all mounts below count)" : ")"));
    case EPERM:
      return FailedPrecondition(what + ": it is id-mapped already, or davitd lacks CAP_SYS_ADMIN over its filesystem");
    case ENOSYS:
      return FailedPrecondition(what + ": this kernel has no id-mapped mounts (5.12)");
    default:
      return ErrnoError(err, what);
  }
}

Status SetPropagation(int tree, unsigned long propagation) {
  mount_attr attributes = {};
  attributes.propagation = propagation;
  if (::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | kRecursive, &attributes, sizeof attributes) == 0)
    return {};
  return ErrnoError(errno, "set propagation of mount");
}

Status AttachMount(int tree, const std::string& target) {
  if (::syscall(SYS_move_mount, tree, "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0) return {};
  return ErrnoError(errno, "attach mount at " + target);
}

std::string FilesystemsAt(const std::string& path) {
  Result<std::vector<MountInfo>> mounts = ReadMountInfo();
  if (!mounts.ok()) return "unknown";
  const MountInfo* holder = nullptr;  // the longest mount point above the path, the last one mounted there
  std::set<std::string> types;
  for (const MountInfo& mount : *mounts) {
    if (IsBelow(path, mount.mount_point) &&
        (holder == nullptr || mount.mount_point.size() >= holder->mount_point.size())) {
      holder = &mount;
    }
    if (mount.mount_point != path && IsBelow(mount.mount_point, path)) types.insert(mount.fs_type);
  }
  if (holder != nullptr) types.insert(holder->fs_type);
  return Join(std::vector<std::string>(types.begin(), types.end()), ", ");
}

}  // namespace davit::sys
