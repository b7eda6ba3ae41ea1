// The cgroup of one container: where linux.cgroupsPath puts it, its making with the limits of linux.resources, its
// entry, its end. Version 1, hybrid and 2; as directories, or as a scope of systemd.
//
// Paths, as crun and runc read them (config-linux.md leaves it to the runtime):
//   directories  "/a/b": from the root of every hierarchy; "a/b": the same; "": "/<id>"
//   systemd      "slice:prefix:name": the scope prefix-name.scope in that slice; ":p:n": in system.slice;
//                "": "system.slice:davit:<id>"; a name that ends with ".slice" is that slice itself
//
// Source: OCI runtime-spec 1.3, config-linux.md, "Control groups".
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "native/container.h"
#include "oci/runtime_resources.h"
#include "sys/cgroup.h"
#include "sys/unique_fd.h"

namespace davit::native {

struct CgroupPlace {
  std::string cgroup;    // from the root of every hierarchy
  bool systemd = false;  // its last part is a scope's name
};

// kInvalidArgument "linux.cgroupsPath: ...".
Result<CgroupPlace> CgroupPlaceOf(const std::string& cgroups_path, const std::string& id, bool systemd);

// kFailedPrecondition when processes are in it: it is somebody else's, and its end would be theirs.
Status CheckCgroupIsFree(const sys::CgroupLayout& layout, const CgroupPlace& place);

// Descriptors by which a new process enters the cgroup.
struct CgroupDoors {
  sys::UniqueFd unified;
  std::vector<sys::UniqueFd> tasks;

  [[nodiscard]] CgroupEntry entry() const;
};
Result<CgroupDoors> OpenCgroupDoors(const sys::CgroupLayout& layout, const std::string& cgroup);

// Everything of linux.resources, devices included when `with_devices`. What is not set stays as it is. Errors name the
// member: "linux.resources.pids.limit: ...". kFailedPrecondition: the controller is not there;
// kUnimplemented: cgroup version 2 has no such limit.
Status ApplyResources(const sys::CgroupLayout& layout, const std::string& cgroup, const oci::Resources& resources,
                      bool with_devices);

// intelRdt: a group of resctrl (Documentation/filesystems/resctrl.rst). The directory that was made, "" when it was
// there. kFailedPrecondition where resctrl is not mounted.
Result<std::string> ApplyIntelRdt(const oci::IntelRdt& rdt, const std::string& id);
// The process joins the group; "" for the id stands for the container's own.
Status JoinIntelRdt(const oci::IntelRdt& rdt, const std::string& id, pid_t pid);

}  // namespace davit::native
