#include "native/prepared_mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"
#include "sys/idmap.h"
#include "sys/mounts.h"
#include "sys/user_namespace.h"

namespace davit::native {
namespace {

constexpr unsigned kRecursive = 0x8000;  // AT_RECURSIVE of <linux/fcntl.h>, which clashes with <fcntl.h>

std::vector<sys::IdRange> Ranges(const std::vector<oci::IdMapping>& mappings) {
  std::vector<sys::IdRange> ranges;
  for (const oci::IdMapping& mapping : mappings)
    ranges.push_back({mapping.container_id, mapping.host_id, mapping.size});
  return ranges;
}

// The map of the mount, else the container's: a namespace that is joined has its map, whatever the specification says.
Result<sys::UniqueFd> UserNamespaceFor(const oci::RuntimeSpec& spec, const oci::SpecMount& mount) {
  if (!mount.uid_mappings.empty()) {
    return sys::CreateUserNamespace({Ranges(mount.uid_mappings), Ranges(mount.gid_mappings)});
  }
  for (const oci::Namespace& ns : spec.linux_.namespaces) {
    if (ns.type != "user") continue;
    if (!ns.path.empty()) return sys::Open(ns.path, O_RDONLY | O_NONBLOCK);
    return sys::CreateUserNamespace({Ranges(spec.linux_.uid_mappings), Ranges(spec.linux_.gid_mappings)});
  }
  return InvalidArgument("idmap without mappings and without a user namespace");
}

// What a mount has when its options say nothing: what the root has.
unsigned long DefaultPropagation(const std::string& rootfs_propagation) {
  if (rootfs_propagation.ends_with("shared")) return MS_SHARED;
  if (rootfs_propagation.ends_with("slave")) return MS_SLAVE;
  return MS_PRIVATE;
}

Status PrepareBind(const oci::RuntimeSpec& spec, const oci::SpecMount& mount, const std::string& bundle,
                   PreparedMount& prepared) {
  const MountOptions& options = prepared.options;
  if (mount.source.empty()) return InvalidArgument("a bind mount without source");
  std::string source = mount.source.front() == '/' ? mount.source : bundle + "/" + mount.source;
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(source, O_PATH));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return ErrnoError(errno, "look at " + Printable(source));
  prepared.directory = S_ISDIR(st.st_mode);
  ASSIGN_OR_RETURN(prepared.tree, sys::CloneMountAt(fd.get(), source, options.recursive));
  // First of all: a copy of a shared mount is its peer, and what is done to it would be done on the node.
  unsigned long propagation =
      options.propagation != 0 ? options.propagation : DefaultPropagation(spec.linux_.rootfs_propagation);
  bool whole = options.propagation == 0 || options.propagation_recursive;
  if (propagation != MS_SHARED && !whole) RETURN_IF_ERROR(SetMountPropagation(prepared.tree.get(), MS_SLAVE, true));
  RETURN_IF_ERROR(SetMountPropagation(prepared.tree.get(), propagation, whole));
  if (options.idmap) {
    ASSIGN_OR_RETURN(sys::UniqueFd user, UserNamespaceFor(spec, mount));
    RETURN_IF_ERROR(sys::SetIdmap(prepared.tree.get(), user.get(), source, options.idmap_recursive));
  }
  RETURN_IF_ERROR(SetAttributes(prepared.tree.get(), options.attributes, false));
  return SetAttributes(prepared.tree.get(), options.below, true);
}

Status PrepareRoot(const oci::RuntimeSpec& spec, const std::string& bundle, PreparedMounts& prepared) {
  if (spec.root.path.empty()) return InvalidArgument("root.path is empty");
  prepared.root_path = spec.root.path.front() == '/' ? spec.root.path : bundle + "/" + spec.root.path;
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(prepared.root_path, O_PATH | O_DIRECTORY));
  ASSIGN_OR_RETURN(prepared.root, sys::CloneMountAt(fd.get(), prepared.root_path, true));
  // Not shared yet: pivot_root(2) refuses a shared root.
  bool slave = spec.linux_.rootfs_propagation.ends_with("slave") || spec.linux_.rootfs_propagation.ends_with("shared");
  return SetMountPropagation(prepared.root.get(), slave ? MS_SLAVE : MS_PRIVATE, true);
}

}  // namespace

Status SetAttributes(int mount, const Attributes& attributes, bool recursive) {
  if (attributes.empty()) return {};
  mount_attr request = {};
  request.attr_set = attributes.set;
  request.attr_clr = attributes.clear;
  unsigned flags = AT_EMPTY_PATH | (recursive ? kRecursive : 0U);
  if (::syscall(SYS_mount_setattr, mount, "", flags, &request, sizeof request) == 0) return {};
  return ErrnoError(errno, recursive ? "set attributes of a mount and all below" : "set attributes of a mount");
}

Status SetMountPropagation(int mount, unsigned long propagation, bool recursive) {
  if (propagation == 0) return {};
  mount_attr request = {};
  request.propagation = propagation;
  unsigned flags = AT_EMPTY_PATH | (recursive ? kRecursive : 0U);
  if (::syscall(SYS_mount_setattr, mount, "", flags, &request, sizeof request) == 0) return {};
  return ErrnoError(errno, "set the propagation of a mount");
}

std::string MountName(const oci::RuntimeSpec& spec, size_t index) {
  return "mounts[" + std::to_string(index) + "] " + Printable(spec.mounts[index].destination);
}

Result<PreparedMounts> PrepareMounts(const oci::RuntimeSpec& spec, const std::string& bundle) {
  PreparedMounts prepared;
  RETURN_IF_ERROR(PrepareRoot(spec, bundle, prepared).Annotate("root"));
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    const oci::SpecMount& mount = spec.mounts[i];
    PreparedMount one;
    ASSIGN_OR_RETURN_WITH(one.options, ParseMountOptions(mount), MountName(spec, i));
    if (one.options.bind && !one.options.remount) {
      RETURN_IF_ERROR(PrepareBind(spec, mount, bundle, one).Annotate(MountName(spec, i)));
    }
    prepared.mounts.push_back(std::move(one));
  }
  return prepared;
}

}  // namespace davit::native
