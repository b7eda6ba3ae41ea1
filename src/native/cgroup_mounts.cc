#include "native/cgroup_mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>
#include <set>

#include "base/strings.h"
#include "native/target.h"
#include "sys/mounts.h"

namespace davit::native {
namespace {

constexpr size_t kMaxCgroupFile = 1 << 20;

// The process's cgroup in each hierarchy, by what the third field of a line names: "" for cgroup2, "cpu",
// "name=systemd". As the node calls them: a new cgroup namespace, from which they would all be "/", is made later.
Result<std::map<std::string, std::string>> OwnCgroups(const Procfs& procfs) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, procfs.OpenOwn("cgroup", O_RDONLY));
  ASSIGN_OR_RETURN(std::string text, sys::ReadAll(file.get(), kMaxCgroupFile));
  std::map<std::string, std::string> cgroups;
  for (const std::string& line : Split(text, '\n')) {
    size_t first = line.find(':');
    size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    for (const std::string& name : Split(line.substr(first + 1, second - first - 1), ',')) {
      cgroups[name] = line.substr(second + 1);
    }
  }
  return cgroups;
}

// Of a v1 mount, the name by which OwnCgroups knows it.
std::optional<std::string> HierarchyOf(const sys::MountInfo& mount, const std::map<std::string, std::string>& own) {
  if (mount.fs_type == "cgroup2") return "";
  for (const std::string& option : Split(mount.super_options, ',')) {
    if (!option.empty() && own.contains(option)) return option;
  }
  return std::nullopt;
}

// A clone of the process's own cgroup in the hierarchy that is mounted there. `path` is what the node calls it.
Result<sys::UniqueFd> CloneOwn(const sys::MountInfo& mount, const std::string& path, const MountOptions& options) {
  if (path.starts_with("/.."))
    return Unimplemented("a cgroup mount in a cgroup namespace that was joined and is not its own");
  // What is mounted may itself be a part of the hierarchy only.
  std::string below = path;
  if (mount.root != "/" && below.starts_with(mount.root)) below = below.substr(mount.root.size());
  ASSIGN_OR_RETURN(sys::UniqueFd directory, sys::Open(mount.mount_point + below, O_PATH | O_DIRECTORY));
  ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneTree(directory.get(), false));
  RETURN_IF_ERROR(SetMountPropagation(tree.get(), MS_PRIVATE, false));
  RETURN_IF_ERROR(SetAttributes(tree.get(), options.attributes, false));
  return tree;
}

struct Hierarchy {
  sys::MountInfo mount;
  std::string name;
};

Status AddHierarchy(int directory, const Hierarchy& hierarchy, const std::string& own, const MountOptions& options) {
  const std::string& point = hierarchy.mount.mount_point;
  std::string name = point.substr(point.rfind('/') + 1);
  ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneOwn(hierarchy.mount, own, options));
  if (::mkdirat(directory, name.c_str(), 0755) != 0 && errno != EEXIST)
    return ErrnoError(errno, "make directory " + name);
  ASSIGN_OR_RETURN(sys::UniqueFd target, OpenTarget(directory, name));
  RETURN_IF_ERROR(Attach(tree.get(), target.get()));
  // Several controllers in one hierarchy: each has its name as a link, as on the node.
  for (const std::string& part : Split(name, ',')) {
    if (part != name && ::symlinkat(name.c_str(), directory, part.c_str()) != 0 && errno != EEXIST) {
      return ErrnoError(errno, "make link " + part);
    }
  }
  return {};
}

Status MountV1(const RootSetup& setup, const oci::SpecMount& mount, const MountOptions& options,
               const std::vector<Hierarchy>& hierarchies, const std::map<std::string, std::string>& own) {
  ASSIGN_OR_RETURN(sys::UniqueFd target, MakeDirectoryTarget(setup.root, mount.destination));
  MountOptions cover;
  cover.attributes = options.attributes;
  cover.attributes.set &= ~uint64_t{MOUNT_ATTR_RDONLY};  // until the directories are made
  cover.data = {{"mode", "755"}};
  if (!setup.spec.linux_.mount_label.empty()) cover.data.emplace_back("context", setup.spec.linux_.mount_label);
  ASSIGN_OR_RETURN(sys::UniqueFd tmpfs, MakeFilesystem("tmpfs", "tmpfs", cover));
  RETURN_IF_ERROR(Attach(tmpfs.get(), target.get()));
  for (const Hierarchy& hierarchy : hierarchies) {
    RETURN_IF_ERROR(
        AddHierarchy(tmpfs.get(), hierarchy, own.at(hierarchy.name), options).Annotate(hierarchy.mount.mount_point));
  }
  RETURN_IF_ERROR(SetAttributes(tmpfs.get(), options.attributes, false));
  return SetMountPropagation(tmpfs.get(), options.propagation, options.propagation_recursive);
}

}  // namespace

Status MountCgroups(const RootSetup& setup, const oci::SpecMount& mount, const MountOptions& options) {
  ASSIGN_OR_RETURN(auto own, OwnCgroups(setup.procfs));
  ASSIGN_OR_RETURN(std::vector<sys::MountInfo> mounts, sys::ReadMountInfo());
  std::vector<Hierarchy> hierarchies;
  std::set<std::string> seen;
  bool v1 = false;
  for (sys::MountInfo& info : mounts) {
    if (info.fs_type != "cgroup" && info.fs_type != "cgroup2") continue;
    std::optional<std::string> name = HierarchyOf(info, own);
    if (!name || !seen.insert(*name).second) continue;
    v1 = v1 || info.fs_type == "cgroup";
    hierarchies.push_back({std::move(info), *name});
  }
  if (hierarchies.empty()) return FailedPrecondition("the node has no cgroups mounted");
  if (v1) return MountV1(setup, mount, options, hierarchies, own);
  ASSIGN_OR_RETURN(sys::UniqueFd target, MakeDirectoryTarget(setup.root, mount.destination));
  ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneOwn(hierarchies[0].mount, own.at(""), options));
  RETURN_IF_ERROR(Attach(tree.get(), target.get()));
  return SetMountPropagation(tree.get(), options.propagation, options.propagation_recursive);
}

}  // namespace davit::native
