#include "sys/resources.h"

#include <algorithm>

namespace davit::sys {
namespace {

// Of an int64_t or an optional one. Zero says nothing, as in CRI.
template <class Field>
void SetIfGiven(Field& field, int64_t value) {
  if (value != 0) field = value;
}

}  // namespace

Resources MergeResources(const Resources& current, const Resources& change) {
  Resources merged = current;
  SetIfGiven(merged.cpu_period, change.cpu_period);
  SetIfGiven(merged.cpu_quota, change.cpu_quota);
  SetIfGiven(merged.cpu_shares, change.cpu_shares);
  SetIfGiven(merged.memory_limit_bytes, change.memory_limit_bytes);
  SetIfGiven(merged.memory_swap_limit_bytes, change.memory_swap_limit_bytes);
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
  SetIfGiven(limits.memory_bytes, resources.memory_limit_bytes);
  SetIfGiven(limits.memory_swap_bytes, resources.memory_swap_limit_bytes);
  SetIfGiven(limits.cpu_shares, resources.cpu_shares);
  SetIfGiven(limits.cpu_quota, resources.cpu_quota);
  SetIfGiven(limits.cpu_period, resources.cpu_period);
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
