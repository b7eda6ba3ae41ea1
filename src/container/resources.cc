#include "container/resources.h"

#include <algorithm>
#include <set>

#include "base/strings.h"

namespace davit::container {
namespace {

constexpr size_t kMaxHugepageLimits = 64;

// Everything that was asked for, also what this node cannot do: for the check.
sys::CgroupLimits Asked(const Resources& resources) {
  sys::CgroupLimits limits;
  auto set = [](std::optional<int64_t>& field, int64_t value) {
    if (value != 0) field = value;
  };
  set(limits.memory_bytes, resources.memory_limit_bytes);
  set(limits.memory_swap_bytes, resources.memory_swap_limit_bytes);
  set(limits.cpu_shares, resources.cpu_shares);
  set(limits.cpu_quota, resources.cpu_quota);
  set(limits.cpu_period, resources.cpu_period);
  limits.cpuset_cpus = resources.cpuset_cpus;
  limits.cpuset_mems = resources.cpuset_mems;
  for (const HugepageLimit& limit : resources.hugepage_limits) limits.hugepages[limit.page_size] = limit.limit;
  limits.unified = resources.unified;
  return limits;
}

}  // namespace

Status ValidateResources(const Resources& resources, const sys::CgroupAbilities& node) {
  const std::string prefix = "linux.resources";
  if (resources.oom_score_adj < -1000 || resources.oom_score_adj > 1000) {
    return InvalidArgument(prefix + ".oom_score_adj " + std::to_string(resources.oom_score_adj) +
                           " is not in -1000..1000");
  }
  if (resources.hugepage_limits.size() > kMaxHugepageLimits) {
    return InvalidArgument(prefix + ".hugepage_limits has more than 64 entries");
  }
  std::set<std::string> sizes;
  for (const HugepageLimit& limit : resources.hugepage_limits) {
    if (!sizes.insert(limit.page_size).second) {
      return InvalidArgument(prefix + ".hugepage_limits has page_size \"" + Printable(limit.page_size) + "\" twice");
    }
  }
  return sys::ValidateCgroupLimits(Asked(resources), node, prefix);
}

Resources MergeResources(const Resources& current, const Resources& change) {
  Resources merged = current;
  auto set = [](int64_t& field, int64_t value) {
    if (value != 0) field = value;
  };
  set(merged.cpu_period, change.cpu_period);
  set(merged.cpu_quota, change.cpu_quota);
  set(merged.cpu_shares, change.cpu_shares);
  set(merged.memory_limit_bytes, change.memory_limit_bytes);
  set(merged.memory_swap_limit_bytes, change.memory_swap_limit_bytes);
  if (!change.cpuset_cpus.empty()) merged.cpuset_cpus = change.cpuset_cpus;
  if (!change.cpuset_mems.empty()) merged.cpuset_mems = change.cpuset_mems;
  for (const HugepageLimit& limit : change.hugepage_limits) {
    auto known = std::find_if(merged.hugepage_limits.begin(), merged.hugepage_limits.end(),
                              [&](const HugepageLimit& other) { return other.page_size == limit.page_size; });
    if (known != merged.hugepage_limits.end()) {
      *known = limit;
    } else {
      merged.hugepage_limits.push_back(limit);
    }
  }
  for (const auto& [name, value] : change.unified) merged.unified[name] = value;
  return merged;
}

sys::CgroupLimits ToCgroupLimits(const Resources& resources, const sys::CgroupAbilities& node) {
  sys::CgroupLimits limits = Asked(resources);
  if (!node.swap) {
    limits.memory_swap_bytes.reset();
  } else if (limits.memory_bytes && !limits.memory_swap_bytes) {
    limits.memory_swap_bytes = limits.memory_bytes;
  }
  if (!node.hugetlb) limits.hugepages.clear();
  if (!node.unified) limits.unified.clear();
  return limits;
}

oci::Resources ToRuntimeResources(const Resources& resources, const sys::CgroupAbilities& node, int64_t pids_limit) {
  sys::CgroupLimits limits = ToCgroupLimits(resources, node);
  oci::Resources out;
  out.memory.limit = limits.memory_bytes;
  out.memory.swap = limits.memory_swap_bytes;
  if (limits.cpu_shares) out.cpu.shares = static_cast<uint64_t>(*limits.cpu_shares);
  out.cpu.quota = limits.cpu_quota;
  if (limits.cpu_period) out.cpu.period = static_cast<uint64_t>(*limits.cpu_period);
  out.cpu.cpus = limits.cpuset_cpus;
  out.cpu.mems = limits.cpuset_mems;
  for (const auto& [size, bytes] : limits.hugepages) out.hugepage_limits.push_back({size, bytes});
  out.unified = limits.unified;
  if (pids_limit > 0) out.pids_limit = pids_limit;
  return out;
}

}  // namespace davit::container
