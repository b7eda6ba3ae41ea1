#include "engine/cpu_rates.h"

namespace davit::engine {

std::optional<uint64_t> CpuRates::Sample(const std::string& cgroup, uint64_t usage_nanos, Clock::time_point now) {
  std::lock_guard lock(mutex_);
  Forget(now);
  auto found = kept_.find(cgroup);
  if (found == kept_.end()) {
    if (kept_.size() < kMaxCgroups) kept_.emplace(cgroup, Kept{now, usage_nanos, std::nullopt});
    return std::nullopt;
  }
  Kept& kept = found->second;
  if (usage_nanos < kept.usage_nanos) {  // another cgroup under the same name
    kept = {now, usage_nanos, std::nullopt};
    return std::nullopt;
  }
  if (now - kept.at < kWindow) return kept.rate;
  double seconds = std::chrono::duration<double>(now - kept.at).count();
  kept = {now, usage_nanos, static_cast<uint64_t>(static_cast<double>(usage_nanos - kept.usage_nanos) / seconds)};
  return kept.rate;
}

void CpuRates::Forget(Clock::time_point now) {
  if (now - forgot_at_ < kForget) return;
  forgot_at_ = now;
  std::erase_if(kept_, [&](const auto& entry) { return now - entry.second.at >= kForget; });
}

}  // namespace davit::engine
