// Resources of a pod sandbox: what CRI's LinuxPodSandboxConfig says about the pod as a whole
// (linux.resources: the sum of its containers; linux.overhead: what running a pod costs besides).
//
// They are applied where Davit owns the pod's cgroup. With a cgroup_parent the cgroup is the kubelet's,
// which sets its limits itself (KEP-2837, KEP-5419): then they are kept and shown only, as CRI-O does it.
#pragma once

#include <string>

#include "base/result.h"
#include "pod/spec.h"
#include "sys/resources.h"

namespace davit::pod {

// kInvalidArgument naming the field below `prefix` ("linux.resources", "linux.overhead").
Status ValidateResources(const sys::Resources& resources, const sys::CgroupAbilities& node, const std::string& prefix);

// Resources and overhead together. Limits add up; without a limit in `resources` there is none.
sys::CgroupLimits PodLimits(const PodSpec& spec, const sys::CgroupAbilities& node);

}  // namespace davit::pod
