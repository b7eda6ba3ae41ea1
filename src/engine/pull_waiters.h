// PullWaiters: who still wants a pull. Requests join a pull that runs and may go away: the next one, a minute later,
// gets on where it is. But one that nobody has wanted for some minutes ends, and does not go on for hours.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace davit::engine {

class PullWaiters {
 public:
  using Clock = std::chrono::steady_clock;
  using Wanted = std::function<bool()>;  // whether the client is there; must not block. Empty: always

  explicit PullWaiters(Clock::duration patience) : patience_(patience) {}

  // Any thread. A client waits until Leave with the number returned; `wanted` is not called after that.
  uint64_t Enter(const std::string& key, Wanted wanted) {
    std::lock_guard lock(mutex_);
    uint64_t number = next_++;
    pulls_[key].clients[number] = std::move(wanted);
    return number;
  }
  void Leave(const std::string& key, uint64_t number) {
    std::lock_guard lock(mutex_);
    auto pull = pulls_.find(key);
    if (pull == pulls_.end()) return;
    pull->second.clients.erase(number);
    if (pull->second.clients.empty()) pulls_.erase(pull);
  }

  // Whether the pull is to be ended: nobody has wanted it since `patience` ago, as far as calls of this have seen.
  bool Abandoned(const std::string& key, Clock::time_point now) {
    std::lock_guard lock(mutex_);
    auto pull = pulls_.find(key);
    if (pull == pulls_.end()) return false;
    for (const auto& [number, wanted] : pull->second.clients) {
      if (wanted && !wanted()) continue;
      pull->second.alone_since.reset();
      return false;
    }
    if (!pull->second.alone_since) pull->second.alone_since = now;
    return now - *pull->second.alone_since >= patience_;
  }

 private:
  struct Pull {
    std::map<uint64_t, Wanted> clients;
    std::optional<Clock::time_point> alone_since;
  };
  const Clock::duration patience_;
  std::mutex mutex_;  // held over Wanted: Leave returns when none is being called
  uint64_t next_ = 1;
  std::map<std::string, Pull> pulls_;
};

}  // namespace davit::engine
