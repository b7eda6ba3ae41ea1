// Names of systemd's slices and scopes, and the cgroups that they are. Pure: no bus, no file.
//
// systemd places units by their names: the slice "a-b.slice" lies in "a.slice", so its cgroup is
// /a.slice/a-b.slice (systemd.slice(5)). A cgroup's path therefore says whether it is systemd's: its last
// part ends with ".slice" or ".scope". Records keep that path alone, and whatever has to be asked of
// systemd or of the OCI runtime is derived from it (adr/0012).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::sys {

// "kubepods-burstable.slice" -> "/kubepods.slice/kubepods-burstable.slice"; "-.slice", the root, -> "".
// kInvalidArgument for what is no name of a slice: empty parts, characters that unit names cannot have,
// more than 255 bytes.
Result<std::string> SlicePath(std::string_view slice);

// The cgroup that a pod's cgroup_parent means under the systemd driver: "x.slice", "/x.slice" (kubelets and
// their tests write either) or the whole path as SlicePath() gives it. kInvalidArgument saying why otherwise,
// also for the root slice.
Result<std::string> SliceOfParent(std::string_view cgroup_parent);

[[nodiscard]] bool IsSlice(std::string_view cgroup);
[[nodiscard]] bool IsScope(std::string_view cgroup);
// The last part: of a slice or scope, the name of its unit.
[[nodiscard]] std::string UnitName(std::string_view cgroup);

// The cgroup `name` below `parent`: the scope "<name>.scope" when the parent is a slice, else a directory.
[[nodiscard]] std::string ChildCgroup(std::string_view parent, std::string_view name);

// What stands as linux.cgroupsPath in the runtime's config.json: "slice:prefix:name" of a scope that is
// called "prefix-name.scope" (crun(1), runc's systemd notation), any other path as it is.
[[nodiscard]] std::string RuntimeCgroupsPath(const std::string& cgroup);

}  // namespace davit::sys
