// The limits of one cgroup: checked, written whole or not at all, and read back. Both cgroup versions.
//
// Values are CRI's (runtime.v1 LinuxContainerResources) and errors name its fields, as far as the kernel's
// own words can be mapped to one. Sources: Documentation/admin-guide/cgroup-v1/{memory,cpusets,hugetlb}.rst,
// scheduler/sched-bwc.rst, cgroup-v2.rst.
//
// Thread rules: functions of their arguments alone; two writers of one cgroup are the caller's to avoid.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/cgroup.h"

namespace davit::sys {

// What is not set stays as it is.
struct CgroupLimits {
  std::optional<int64_t> memory_bytes;       // -1: no limit
  std::optional<int64_t> memory_swap_bytes;  // memory and swap together, as version 1 counts; -1: no limit
  std::optional<int64_t> cpu_shares;         // 2..262144; on version 2 turned into a weight
  std::optional<int64_t> cpu_quota;          // microseconds in a period; -1: no limit
  std::optional<int64_t> cpu_period;         // microseconds
  std::string cpuset_cpus;                   // "0-3,7"
  std::string cpuset_mems;
  std::map<std::string, uint64_t> hugepages;   // page size ("2MB") -> bytes
  std::map<std::string, std::string> unified;  // file of a version 2 cgroup -> value

  [[nodiscard]] bool empty() const;
};

// What the cgroups of this node can limit, read once.
struct CgroupAbilities {
  bool unified = false;                     // pure version 2
  std::vector<std::string> controllers;     // of version 2: "cpu", "memory", ...
  bool swap = false;                        // swap is accounted
  bool hugetlb = false;                     // the controller is there
  std::vector<std::string> hugepage_sizes;  // as CRI names them: "2MB", "1GB"
  std::string cpus;                         // online, "0-1"
  std::string mems;

  static Result<CgroupAbilities> Read(const CgroupLayout& layout);
};

// "0-3,7" -> {0,1,2,3,7}; kInvalidArgument for anything else. At most 8192 members.
Result<std::vector<int>> ParseCpuList(const std::string& text);

// kInvalidArgument naming the field below `prefix` ("linux.resources") and what is allowed. A swap limit
// is not refused where swap is not accounted, and is not written either: kubelets send one always.
Status ValidateCgroupLimits(const CgroupLimits& limits, const CgroupAbilities& node, const std::string& prefix);

// Writes every limit that differs, in the order that the kernel takes, and reads them back; after any
// failure the old values stand again (what could not be restored is told in the error).
// kFailedPrecondition: the memory is in use, or the controller is missing. kInvalidArgument: the kernel
// refuses the value, because a cgroup above allows less, say. kNotFound: there is no such cgroup.
// `confirm`, when given, is asked once all is written; its failure takes everything back, too.
Status ApplyCgroupLimits(const CgroupLayout& layout, const std::string& cgroup, const CgroupLimits& limits,
                         const std::function<Status()>& confirm = nullptr);

// kFailedPrecondition naming the first limit that is not in effect, as an OCI runtime would have set it.
Status CheckCgroupLimits(const CgroupLayout& layout, const std::string& cgroup, const CgroupLimits& limits);

}  // namespace davit::sys
