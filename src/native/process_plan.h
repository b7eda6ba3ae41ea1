// Process plan: what a specification says of a process in the numbers of the kernel.
//
// Made in the caller, so that what cannot be is an error before anything is done, and that the child needs no table.
// Source: OCI runtime-spec 1.3, config.md, "Process"; config-linux.md, "Personality", "Memory policy".
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "oci/runtime_spec.h"

namespace davit::native {

struct CapabilityMasks {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
  uint64_t ambient = 0;
};

// struct sched_attr of sched_setattr(2), which the C library does not declare.
struct SchedulerAttributes {
  uint32_t size = 0;
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;
  uint64_t deadline = 0;
  uint64_t period = 0;
};

struct MemoryPolicyPlan {
  int mode = 0;
  std::vector<unsigned long> nodes;  // a bit for each
};

struct ProcessPlan {
  CapabilityMasks capabilities;  // only what this node has: what it lacks nobody can give
  std::vector<std::pair<int, rlimit>> rlimits;
  std::optional<SchedulerAttributes> scheduler;
  std::optional<int> io_priority;
  std::optional<unsigned long> personality;
  std::optional<MemoryPolicyPlan> memory_policy;
};

// kInvalidArgument naming the field.
Result<ProcessPlan> PlanProcess(const oci::Process& process, const oci::Linux& linux_part);

// "0-3,7" as numbers; at most `limit`.
Result<std::vector<unsigned>> ParseNumberList(const std::string& text, unsigned limit);

}  // namespace davit::native
