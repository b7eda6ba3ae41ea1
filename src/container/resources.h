// Resources: CRI's limits of one container, from the request to the runtime's configuration and to the
// files of a cgroup. Pure functions; zero and empty mean "not set" in all fields, as in CRI.
#pragma once

#include "base/result.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"
#include "sys/cgroup_limits.h"

namespace davit::container {

// kInvalidArgument naming the field below "linux.resources" and what this node allows.
Status ValidateResources(const Resources& resources, const sys::CgroupAbilities& node);

// `change` over `current`: what `change` does not set stays. oom_score_adj stays always: it belongs to
// processes, each of which may have changed its own, and kubelets send a new one with every resize of a
// burstable pod and expect nothing of it.
Resources MergeResources(const Resources& current, const Resources& change);

// What the cgroup is to have. A memory limit without a swap limit means no swap, as in CRI-O and
// containerd; without swap accounting nothing is said about swap.
sys::CgroupLimits ToCgroupLimits(const Resources& resources, const sys::CgroupAbilities& node);

// The same for the runtime. `pids_limit` <= 0: none.
oci::Resources ToRuntimeResources(const Resources& resources, const sys::CgroupAbilities& node, int64_t pids_limit);

}  // namespace davit::container
