// What a client asks of a cgroup, of a container's and of a pod's alike (CRI: runtime.v1 LinuxContainerResources),
// and what follows from it. Zero and empty mean "not set" in all fields, as in CRI.
//
// Thread rules: values and pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sys/cgroup_limits.h"

namespace davit::sys {

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;     // bytes
};

// Kept in the records of pods and containers (docs/formats/pod-and-container-records.md): resources_members.h
// names the members for them.
struct Resources {
  int64_t cpu_period = 0;  // microseconds
  int64_t cpu_quota = 0;
  int64_t cpu_shares = 0;
  int64_t memory_limit_bytes = 0;
  int64_t memory_swap_limit_bytes = 0;
  int64_t oom_score_adj = 0;  // of a container's processes; says nothing about a cgroup
  std::string cpuset_cpus;
  std::string cpuset_mems;
  std::vector<HugepageLimit> hugepage_limits;  // the last one of a size counts
  std::map<std::string, std::string> unified;
};

// `change` over `current`: what `change` does not set stays. oom_score_adj stays always: it belongs to
// processes, each of which may have changed its own, and kubelets send a new one with every resize of a
// burstable pod and expect nothing of it.
Resources MergeResources(const Resources& current, const Resources& change);

// Everything that was asked for, also what this node cannot do: for ValidateCgroupLimits.
CgroupLimits AskedLimits(const Resources& resources);

// The limits without those that this node's cgroups do not have.
CgroupLimits ClampToNode(CgroupLimits limits, const CgroupAbilities& node);

}  // namespace davit::sys
