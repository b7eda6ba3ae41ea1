#include "container/resources.h"

#include <set>
#include <utility>

#include "base/strings.h"

namespace davit::container {
namespace {

constexpr size_t kMaxHugepageLimits = 64;

}  // namespace

Status ValidateResources(const sys::Resources& resources, const sys::CgroupAbilities& node) {
  const std::string prefix = "linux.resources";
  if (resources.oom_score_adj < -1000 || resources.oom_score_adj > 1000) {
    return InvalidArgument(prefix + ".oom_score_adj " + std::to_string(resources.oom_score_adj) +
                           " is not in -1000..1000");
  }
  if (resources.hugepage_limits.size() > kMaxHugepageLimits) {
    return InvalidArgument(prefix + ".hugepage_limits has more than 64 entries");
  }
  std::set<std::string> sizes;
  for (const sys::HugepageLimit& limit : resources.hugepage_limits) {
    if (!sizes.insert(limit.page_size).second) {
      return InvalidArgument(prefix + ".hugepage_limits has page_size \"" + Printable(limit.page_size) + "\" twice");
    }
  }
  return sys::ValidateCgroupLimits(sys::AskedLimits(resources), node, prefix);
}

sys::CgroupLimits ToCgroupLimits(const sys::Resources& resources, const sys::CgroupAbilities& node) {
  sys::CgroupLimits limits = sys::AskedLimits(resources);
  if (limits.memory_bytes && !limits.memory_swap_bytes) limits.memory_swap_bytes = limits.memory_bytes;
  return sys::ClampToNode(std::move(limits), node);
}

oci::Resources ToRuntimeResources(const sys::Resources& resources, const sys::CgroupAbilities& node,
                                  int64_t pids_limit) {
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
