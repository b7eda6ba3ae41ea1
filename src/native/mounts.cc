#include "native/mounts.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/strings.h"
#include "native/cgroup_mounts.h"
#include "native/target.h"
#include "sys/copy_tree.h"
#include "sys/idmap.h"
#include "sys/mounts.h"

namespace davit::native {
namespace {

// What the kernel says beside the errno (fsopen(2): messages are read from the context).
std::string KernelMessage(int context) {
  std::array<char, 512> text{};
  ssize_t n = ::read(context, text.data(), text.size());
  if (n <= 2) return "";
  return " (" + Printable(Trim(std::string_view(text.data() + 2, static_cast<size_t>(n) - 2)), 400) + ")";
}

Status Configure(int context, unsigned command, const char* key, const char* value) {
  if (::syscall(SYS_fsconfig, context, command, key, value, 0) == 0) return {};
  int err = errno;
  std::string what = key == nullptr ? "make the file system" : "option \"" + Printable(key) + "\"";
  return ErrnoError(err, what + KernelMessage(context));
}

bool IsKernelFilesystem(const std::string& type) { return type == "proc" || type == "sysfs"; }

// The node's /sys, for a container in a user namespace that shares a network namespace it does not own: the kernel
// makes it no sysfs of its own (sysfs belongs to the network namespace).
Result<sys::UniqueFd> CloneNodeSys(const MountOptions& options) {
  ASSIGN_OR_RETURN(sys::UniqueFd sys_fd, sys::Open("/sys", O_PATH | O_DIRECTORY | O_NOFOLLOW));
  if (!HasMagic(sys_fd.get(), SYSFS_MAGIC)) return FailedPrecondition("/sys of the node is not a sysfs");
  ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneTree(sys_fd.get(), true));
  RETURN_IF_ERROR(SetMountPropagation(tree.get(), MS_SLAVE, true));
  RETURN_IF_ERROR(SetAttributes(tree.get(), options.attributes, false));
  return tree;
}

bool TakesLabel(const std::string& type) { return type == "tmpfs" || type == "devpts" || type == "mqueue"; }

// tmpcopyup: what the image has at this place is in the new tmpfs, too.
Status CopyUp(const RootSetup& setup, int tree, int target) {
  ASSIGN_OR_RETURN(sys::UniqueFd from, setup.procfs.Reopen(target, O_RDONLY | O_DIRECTORY));
  sys::UniqueFd to(::openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!to.valid()) return ErrnoError(errno, "open the new file system");
  return sys::CopyTree(from.get(), to.get(), {}, Deadline::Infinite());
}

// tmpfs gets the mode of the directory it covers, as mount points have it in every other runtime, unless it is told
// one.
void KeepMode(const oci::SpecMount& mount, int target, MountOptions& options) {
  if (mount.type != "tmpfs") return;
  for (const auto& [key, value] : options.data) {
    if (key == "mode") return;
  }
  struct stat st;
  if (::fstat(target, &st) != 0) return;
  std::string octal;
  for (unsigned mode = st.st_mode & 07777; mode != 0; mode >>= 3)
    octal.insert(octal.begin(), static_cast<char>('0' + (mode & 7)));
  options.data.emplace_back("mode", octal.empty() ? "0" : octal);
}

Status MountFilesystem(const RootSetup& setup, const oci::SpecMount& mount, MountOptions options) {
  ASSIGN_OR_RETURN(sys::UniqueFd target,
                   MakeDirectoryTarget(setup.root, mount.destination, IsKernelFilesystem(mount.type)));
  KeepMode(mount, target.get(), options);
  if (!setup.spec.linux_.mount_label.empty() && TakesLabel(mount.type)) {
    options.data.emplace_back("context", setup.spec.linux_.mount_label);
  }
  MountOptions at_first = options;
  // What is copied into it has to be written first.
  if (options.copy_up) at_first.attributes.set &= ~uint64_t{MOUNT_ATTR_RDONLY};
  Result<sys::UniqueFd> made = MakeFilesystem(mount.type, mount.source, at_first);
  if (made.code() == StatusCode::kPermissionDenied && mount.type == "sysfs") made = CloneNodeSys(options);
  if (!made.ok()) return made.status();
  if (options.copy_up) {
    RETURN_IF_ERROR(CopyUp(setup, made->get(), target.get()).Annotate("tmpcopyup"));
    RETURN_IF_ERROR(SetAttributes(made->get(), options.attributes, false));
  }
  RETURN_IF_ERROR(Attach(made->get(), target.get()));
  RETURN_IF_ERROR(SetAttributes(made->get(), options.below, true));
  return SetMountPropagation(made->get(), options.propagation, options.propagation_recursive);
}

Status MountBind(const RootSetup& setup, const oci::SpecMount& mount, const PreparedMount& prepared) {
  ASSIGN_OR_RETURN(sys::UniqueFd target, prepared.directory ? MakeDirectoryTarget(setup.root, mount.destination)
                                                            : MakeFileTarget(setup.root, mount.destination));
  return Attach(prepared.tree.get(), target.get());
}

Status Remount(const RootSetup& setup, const oci::SpecMount& mount, const MountOptions& options) {
  ASSIGN_OR_RETURN(sys::UniqueFd target, OpenTarget(setup.root, mount.destination));
  RETURN_IF_ERROR(SetAttributes(target.get(), options.attributes, false));
  RETURN_IF_ERROR(SetAttributes(target.get(), options.below, true));
  return SetMountPropagation(target.get(), options.propagation, options.propagation_recursive);
}

Status MountOne(const RootSetup& setup, const oci::SpecMount& mount, const PreparedMount& prepared) {
  if (prepared.options.remount) return Remount(setup, mount, prepared.options);
  if (prepared.options.bind) return MountBind(setup, mount, prepared);
  if (mount.type == "cgroup" || mount.type == "cgroup2") return MountCgroups(setup, mount, prepared.options);
  return MountFilesystem(setup, mount, prepared.options);
}

}  // namespace

Result<sys::UniqueFd> MakeFilesystem(const std::string& type, const std::string& source, const MountOptions& options) {
  sys::UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, type.c_str(), FSOPEN_CLOEXEC)));
  if (!context.valid() && errno == ENODEV)
    return Unimplemented("file system \"" + Printable(type) + "\" is not known to this kernel");
  if (!context.valid()) return ErrnoError(errno, "file system " + Printable(type));
  const char* name = source.empty() ? type.c_str() : source.c_str();
  RETURN_IF_ERROR(Configure(context.get(), FSCONFIG_SET_STRING, "source", name));
  for (const std::string& flag : options.flags) {
    RETURN_IF_ERROR(Configure(context.get(), FSCONFIG_SET_FLAG, flag.c_str(), nullptr));
  }
  for (const auto& [key, value] : options.data) {
    RETURN_IF_ERROR(Configure(context.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str()));
  }
  RETURN_IF_ERROR(Configure(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr));
  uint64_t attributes = options.attributes.set;
  sys::UniqueFd mount(
      static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes))));
  if (!mount.valid()) return ErrnoError(errno, "mount " + Printable(type));
  return mount;
}

Status Attach(int tree, int target) {
  if (::syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0)
    return {};
  return ErrnoError(errno, "attach the mount");
}

Result<sys::UniqueFd> CloneTree(int fd, bool recursive) {
  return sys::CloneMountAt(fd, "a path of the container", recursive);
}

Status MountAll(const RootSetup& setup) {
  for (size_t i = 0; i < setup.spec.mounts.size(); ++i) {
    RETURN_IF_ERROR(MountOne(setup, setup.spec.mounts[i], setup.prepared.mounts[i]).Annotate(MountName(setup.spec, i)));
  }
  return {};
}

}  // namespace davit::native
