// CpuRates: CPU use between two samples of one cgroup. Keeps one sample a cgroup and forgets those that are
// not asked for any more.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace davit::engine {

class CpuRates {
 public:
  using Clock = std::chrono::steady_clock;

  // Nanoseconds of CPU a second since the kept sample, which gives way to this one when it is at least
  // kWindow old. Two clients that ask shortly one after the other get the same rate. nullopt for the first
  // sample. Any thread.
  std::optional<uint64_t> Sample(const std::string& cgroup, uint64_t usage_nanos, Clock::time_point now);

  static constexpr std::chrono::seconds kWindow{1};
  static constexpr size_t kMaxCgroups = 16384;
  static constexpr std::chrono::minutes kForget{10};

 private:
  struct Kept {
    Clock::time_point at;
    uint64_t usage_nanos = 0;
    std::optional<uint64_t> rate;
  };
  void Forget(Clock::time_point now);

  std::mutex mutex_;
  std::map<std::string, Kept, std::less<>> kept_;
  Clock::time_point forgot_at_;
};

}  // namespace davit::engine
