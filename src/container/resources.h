// Resources: CRI's limits of one container, from the request to the runtime's configuration and to the
// files of a cgroup. Pure functions.
#pragma once

#include "base/result.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"
#include "sys/resources.h"

namespace davit::container {

// kInvalidArgument naming the field below "linux.resources" and what this node allows.
Status ValidateResources(const sys::Resources& resources, const sys::CgroupAbilities& node);

// What the cgroup is to have. A memory limit without a swap limit means no swap, as in CRI-O and
// containerd; without swap accounting nothing is said about swap.
sys::CgroupLimits ToCgroupLimits(const sys::Resources& resources, const sys::CgroupAbilities& node);

// The same for the runtime. `pids_limit` <= 0: none.
oci::Resources ToRuntimeResources(const sys::Resources& resources, const sys::CgroupAbilities& node,
                                  int64_t pids_limit);

}  // namespace davit::container
