#include "native/process_plan.h"

#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>
#include <sys/personality.h>

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "sys/capabilities.h"

namespace davit::native {
namespace {

constexpr unsigned kMaxNodes = 1024;

template <size_t N>
std::optional<uint64_t> Lookup(const std::array<std::pair<std::string_view, uint64_t>, N>& table,
                               std::string_view name) {
  for (const auto& [known, value] : table) {
    if (known == name) return value;
  }
  return std::nullopt;
}

Status Unknown(std::string_view field, std::string_view name) {
  return InvalidArgument(std::string(field) + ": \"" + Printable(name) + "\" is not known");
}

constexpr std::array<std::pair<std::string_view, uint64_t>, 16> kRlimits = {{{"RLIMIT_AS", RLIMIT_AS},
                                                                             {"RLIMIT_CORE", RLIMIT_CORE},
                                                                             {"RLIMIT_CPU", RLIMIT_CPU},
                                                                             {"RLIMIT_DATA", RLIMIT_DATA},
                                                                             {"RLIMIT_FSIZE", RLIMIT_FSIZE},
                                                                             {"RLIMIT_LOCKS", RLIMIT_LOCKS},
                                                                             {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
                                                                             {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
                                                                             {"RLIMIT_NICE", RLIMIT_NICE},
                                                                             {"RLIMIT_NOFILE", RLIMIT_NOFILE},
                                                                             {"RLIMIT_NPROC", RLIMIT_NPROC},
                                                                             {"RLIMIT_RSS", RLIMIT_RSS},
                                                                             {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
                                                                             {"RLIMIT_RTTIME", RLIMIT_RTTIME},
                                                                             {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
                                                                             {"RLIMIT_STACK", RLIMIT_STACK}}};

constexpr std::array<std::pair<std::string_view, uint64_t>, 7> kPolicies = {{{"SCHED_OTHER", 0},
                                                                             {"SCHED_FIFO", 1},
                                                                             {"SCHED_RR", 2},
                                                                             {"SCHED_BATCH", 3},
                                                                             {"SCHED_ISO", 4},
                                                                             {"SCHED_IDLE", 5},
                                                                             {"SCHED_DEADLINE", 6}}};

constexpr std::array<std::pair<std::string_view, uint64_t>, 7> kSchedulerFlags = {
    {{"SCHED_FLAG_RESET_ON_FORK", 0x01},
     {"SCHED_FLAG_RECLAIM", 0x02},
     {"SCHED_FLAG_DL_OVERRUN", 0x04},
     {"SCHED_FLAG_KEEP_POLICY", 0x08},
     {"SCHED_FLAG_KEEP_PARAMS", 0x10},
     {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
     {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40}}};

constexpr std::array<std::pair<std::string_view, uint64_t>, 3> kIoClasses = {
    {{"IOPRIO_CLASS_RT", 1}, {"IOPRIO_CLASS_BE", 2}, {"IOPRIO_CLASS_IDLE", 3}}};

constexpr std::array<std::pair<std::string_view, uint64_t>, 7> kMemoryModes = {{{"MPOL_DEFAULT", 0},
                                                                                {"MPOL_PREFERRED", 1},
                                                                                {"MPOL_BIND", 2},
                                                                                {"MPOL_INTERLEAVE", 3},
                                                                                {"MPOL_LOCAL", 4},
                                                                                {"MPOL_PREFERRED_MANY", 5},
                                                                                {"MPOL_WEIGHTED_INTERLEAVE", 6}}};

constexpr std::array<std::pair<std::string_view, uint64_t>, 3> kMemoryFlags = {
    {{"MPOL_F_STATIC_NODES", 1U << 15}, {"MPOL_F_RELATIVE_NODES", 1U << 14}, {"MPOL_F_NUMA_BALANCING", 1U << 13}}};

Result<uint64_t> MaskOf(const std::vector<std::string>& names, const std::vector<std::string>& known,
                        const std::vector<std::string>& held, std::string_view field) {
  uint64_t mask = 0;
  for (const std::string& name : names) {
    auto found = std::find(known.begin(), known.end(), name);
    // Of a newer kernel, or of none: no process can have it, and runtimes have always left such names out.
    if (found == known.end() && name.starts_with("CAP_")) continue;
    if (found == known.end()) return Unknown(field, name);
    if (std::find(held.begin(), held.end(), name) == held.end()) continue;
    mask |= uint64_t{1} << (found - known.begin());
  }
  return mask;
}

Result<CapabilityMasks> PlanCapabilities(const oci::Process& process) {
  CapabilityMasks masks;
  if (!process.capabilities) return masks;
  const oci::CapabilitySets& sets = *process.capabilities;
  const std::vector<std::string> known = sys::KnownCapabilities();
  ASSIGN_OR_RETURN(const std::vector<std::string> held, sys::BoundingCapabilities());
  ASSIGN_OR_RETURN(masks.bounding, MaskOf(sets.bounding, known, held, "process.capabilities.bounding"));
  ASSIGN_OR_RETURN(masks.effective, MaskOf(sets.effective, known, held, "process.capabilities.effective"));
  ASSIGN_OR_RETURN(masks.permitted, MaskOf(sets.permitted, known, held, "process.capabilities.permitted"));
  ASSIGN_OR_RETURN(masks.inheritable, MaskOf(sets.inheritable, known, held, "process.capabilities.inheritable"));
  ASSIGN_OR_RETURN(masks.ambient, MaskOf(sets.ambient, known, held, "process.capabilities.ambient"));
  // capabilities(7): ambient ones are permitted and inheritable, effective ones permitted. The kernel refuses the rest
  // of an ambient set one by one, without a word about which.
  if ((masks.effective & ~masks.permitted) != 0) {
    return InvalidArgument("process.capabilities.effective: more than permitted");
  }
  masks.ambient &= masks.permitted & masks.inheritable;
  return masks;
}

Result<SchedulerAttributes> PlanScheduler(const oci::Scheduler& wanted) {
  SchedulerAttributes attributes;
  attributes.size = 48;  // SCHED_ATTR_SIZE_VER0
  std::optional<uint64_t> policy = Lookup(kPolicies, wanted.policy);
  if (!policy) return Unknown("process.scheduler.policy", wanted.policy);
  attributes.policy = static_cast<uint32_t>(*policy);
  for (const std::string& name : wanted.flags) {
    std::optional<uint64_t> flag = Lookup(kSchedulerFlags, name);
    if (!flag) return Unknown("process.scheduler.flags", name);
    attributes.flags |= *flag;
  }
  attributes.nice = wanted.nice;
  attributes.priority = static_cast<uint32_t>(wanted.priority);
  attributes.runtime = wanted.runtime;
  attributes.deadline = wanted.deadline;
  attributes.period = wanted.period;
  return attributes;
}

Result<int> PlanIoPriority(const oci::IoPriority& wanted) {
  std::optional<uint64_t> io_class = Lookup(kIoClasses, wanted.io_class);
  if (!io_class) return Unknown("process.ioPriority.class", wanted.io_class);
  if (wanted.priority < 0 || wanted.priority > 7) return InvalidArgument("process.ioPriority.priority: not in 0..7");
  return static_cast<int>(*io_class << 13 | static_cast<uint64_t>(wanted.priority));
}

Result<unsigned long> PlanPersonality(const oci::Personality& wanted) {
  if (!wanted.flags.empty()) return Unimplemented("linux.personality.flags");
  if (wanted.domain == "LINUX") return static_cast<unsigned long>(PER_LINUX);
  if (wanted.domain == "LINUX32") return static_cast<unsigned long>(PER_LINUX32);
  return Unknown("linux.personality.domain", wanted.domain);
}

Result<MemoryPolicyPlan> PlanMemoryPolicy(const oci::MemoryPolicy& wanted) {
  MemoryPolicyPlan plan;
  std::optional<uint64_t> mode = Lookup(kMemoryModes, wanted.mode);
  if (!mode) return Unknown("linux.memoryPolicy.mode", wanted.mode);
  plan.mode = static_cast<int>(*mode);
  for (const std::string& name : wanted.flags) {
    std::optional<uint64_t> flag = Lookup(kMemoryFlags, name);
    if (!flag) return Unknown("linux.memoryPolicy.flags", name);
    plan.mode |= static_cast<int>(*flag);
  }
  if (wanted.nodes.empty()) return plan;
  ASSIGN_OR_RETURN_WITH(std::vector<unsigned> nodes, ParseNumberList(wanted.nodes, kMaxNodes),
                        "linux.memoryPolicy.nodes");
  constexpr unsigned kBits = 8 * sizeof(unsigned long);
  plan.nodes.assign(kMaxNodes / kBits, 0);
  for (unsigned node : nodes) plan.nodes[node / kBits] |= 1UL << (node % kBits);
  return plan;
}

}  // namespace

Result<std::vector<unsigned>> ParseNumberList(const std::string& text, unsigned limit) {
  std::vector<unsigned> numbers;
  for (const std::string& part : Split(text, ',')) {
    size_t dash = part.find('-');
    std::optional<uint64_t> first = ParseUint64(std::string_view(part).substr(0, dash));
    std::optional<uint64_t> last =
        dash == std::string::npos ? first : ParseUint64(std::string_view(part).substr(dash + 1));
    if (!first || !last || *first > *last || *last >= limit) {
      return InvalidArgument("\"" + Printable(text) + "\" is no list of numbers below " + std::to_string(limit));
    }
    for (uint64_t n = *first; n <= *last; ++n) numbers.push_back(static_cast<unsigned>(n));
  }
  return numbers;
}

Result<ProcessPlan> PlanProcess(const oci::Process& process, const oci::Linux& linux_part) {
  ProcessPlan plan;
  ASSIGN_OR_RETURN(plan.capabilities, PlanCapabilities(process));
  for (size_t i = 0; i < process.rlimits.size(); ++i) {
    const oci::Rlimit& wanted = process.rlimits[i];
    std::string where = "process.rlimits[" + std::to_string(i) + "]";
    std::optional<uint64_t> resource = Lookup(kRlimits, wanted.type);
    if (!resource) return Unknown(where + ".type", wanted.type);
    if (wanted.soft > wanted.hard) return InvalidArgument(where + ": soft is above hard");
    plan.rlimits.emplace_back(static_cast<int>(*resource), rlimit{wanted.soft, wanted.hard});
  }
  if (process.scheduler) {
    ASSIGN_OR_RETURN(plan.scheduler, PlanScheduler(*process.scheduler));
  }
  if (process.io_priority) {
    ASSIGN_OR_RETURN(plan.io_priority, PlanIoPriority(*process.io_priority));
  }
  if (linux_part.personality) {
    ASSIGN_OR_RETURN(plan.personality, PlanPersonality(*linux_part.personality));
  }
  if (linux_part.memory_policy) {
    ASSIGN_OR_RETURN(plan.memory_policy, PlanMemoryPolicy(*linux_part.memory_policy));
  }
  return plan;
}

}  // namespace davit::native
