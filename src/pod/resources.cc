#include "pod/resources.h"

#include <algorithm>

namespace davit::pod {
namespace {

constexpr int64_t kDefaultPeriod = 100'000;  // microseconds, the kernel's

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
  limits.hugepages = resources.hugepage_limits;
  limits.unified = resources.unified;
  return limits;
}

void AddTo(std::optional<int64_t>& limit, int64_t more) {
  if (limit && *limit >= 0 && more > 0) limit = *limit + more;
}

}  // namespace

Status ValidateResources(const Resources& resources, const sys::CgroupAbilities& node, const std::string& prefix) {
  sys::CgroupLimits limits = Asked(resources);
  // An overhead is an amount and no limit of its own: a small one is fine, and so are shares of 1.
  if (prefix == "linux.overhead") {
    auto amount = [&](const char* field, const std::optional<int64_t>& value) -> Status {
      if (!value || *value > 0) return {};
      return InvalidArgument(prefix + "." + field + " " + std::to_string(*value) + " is negative");
    };
    RETURN_IF_ERROR(amount("memory_limit_in_bytes", limits.memory_bytes));
    RETURN_IF_ERROR(amount("memory_swap_limit_in_bytes", limits.memory_swap_bytes));
    RETURN_IF_ERROR(amount("cpu_quota", limits.cpu_quota));
    RETURN_IF_ERROR(amount("cpu_shares", limits.cpu_shares));
    limits.memory_bytes.reset();
    limits.memory_swap_bytes.reset();
    limits.cpu_quota.reset();
    limits.cpu_shares.reset();
  }
  return sys::ValidateCgroupLimits(limits, node, prefix);
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
  for (const auto& [size, bytes] : change.hugepage_limits) merged.hugepage_limits[size] = bytes;
  for (const auto& [name, value] : change.unified) merged.unified[name] = value;
  return merged;
}

sys::CgroupLimits PodLimits(const PodSpec& spec, const sys::CgroupAbilities& node) {
  sys::CgroupLimits limits = Asked(spec.resources);
  const Resources& overhead = spec.overhead;
  AddTo(limits.memory_swap_bytes, overhead.memory_limit_bytes);
  AddTo(limits.memory_bytes, overhead.memory_limit_bytes);
  AddTo(limits.cpu_shares, overhead.cpu_shares);
  if (limits.cpu_shares) limits.cpu_shares = std::min<int64_t>(*limits.cpu_shares, 262'144);
  if (limits.cpu_quota && *limits.cpu_quota > 0 && overhead.cpu_quota > 0) {
    int64_t period = spec.resources.cpu_period > 0 ? spec.resources.cpu_period : kDefaultPeriod;
    int64_t theirs = overhead.cpu_period > 0 ? overhead.cpu_period : kDefaultPeriod;
    limits.cpu_quota = *limits.cpu_quota + overhead.cpu_quota * period / theirs;
  }
  if (!node.swap) limits.memory_swap_bytes.reset();
  if (!node.hugetlb) limits.hugepages.clear();
  if (!node.unified) limits.unified.clear();
  return limits;
}

}  // namespace davit::pod
