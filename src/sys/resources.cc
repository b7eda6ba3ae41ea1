#include "sys/resources.h"

#include <algorithm>
#include <optional>

namespace davit::sys {

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

CgroupLimits AskedLimits(const Resources& resources) {
  CgroupLimits limits;
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

CgroupLimits ClampToNode(CgroupLimits limits, const CgroupAbilities& node) {
  if (!node.swap) limits.memory_swap_bytes.reset();
  if (!node.hugetlb) limits.hugepages.clear();
  if (!node.unified) limits.unified.clear();
  return limits;
}

}  // namespace davit::sys
