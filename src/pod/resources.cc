#include "pod/resources.h"

#include <algorithm>
#include <utility>

namespace davit::pod {
namespace {

constexpr int64_t kDefaultPeriod = 100'000;  // microseconds, the kernel's

void AddTo(std::optional<int64_t>& limit, int64_t more) {
  if (limit && *limit >= 0 && more > 0) limit = *limit + more;
}

}  // namespace

Status ValidateResources(const sys::Resources& resources, const sys::CgroupAbilities& node, const std::string& prefix) {
  sys::CgroupLimits limits = sys::AskedLimits(resources);
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

sys::CgroupLimits PodLimits(const PodSpec& spec, const sys::CgroupAbilities& node) {
  sys::CgroupLimits limits = sys::AskedLimits(spec.resources);
  const sys::Resources& overhead = spec.overhead;
  AddTo(limits.memory_swap_bytes, overhead.memory_limit_bytes);
  AddTo(limits.memory_bytes, overhead.memory_limit_bytes);
  AddTo(limits.cpu_shares, overhead.cpu_shares);
  if (limits.cpu_shares) limits.cpu_shares = std::min<int64_t>(*limits.cpu_shares, 262'144);
  if (limits.cpu_quota && *limits.cpu_quota > 0 && overhead.cpu_quota > 0) {
    int64_t period = spec.resources.cpu_period > 0 ? spec.resources.cpu_period : kDefaultPeriod;
    int64_t theirs = overhead.cpu_period > 0 ? overhead.cpu_period : kDefaultPeriod;
    limits.cpu_quota = *limits.cpu_quota + overhead.cpu_quota * period / theirs;
  }
  return sys::ClampToNode(std::move(limits), node);
}

}  // namespace davit::pod
