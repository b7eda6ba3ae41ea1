// Stops: how long a stop that is under way may be gentle. Requests join (sched/operations.h); the one with
// the shortest grace decides when SIGKILL comes, also when it comes last.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/ids.h"

namespace davit::engine {

class Stops {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A request has come in. Before it joins: whoever begins the stop then sees it.
  void Ask(const ContainerId& id, Time kill_at) {
    std::lock_guard lock(mutex_);
    auto [it, fresh] = stops_.try_emplace(id);
    if (fresh || kill_at < it->second.kill_at) it->second.kill_at = kill_at;
  }

  // The stop runs. `give_up` answers it when SIGKILL does not help.
  void Begin(const ContainerId& id, std::function<void()> give_up) {
    std::lock_guard lock(mutex_);
    stops_[id].give_up = std::move(give_up);
  }

  // Empty when no stop runs.
  [[nodiscard]] std::function<void()> GiveUp(const ContainerId& id) const {
    std::lock_guard lock(mutex_);
    auto it = stops_.find(id);
    return it == stops_.end() ? nullptr : it->second.give_up;
  }

  // The time that counts now, when a stop runs and it is earlier than the one that is armed: the caller
  // arms it.
  std::optional<Time> Earlier(const ContainerId& id) const {
    std::lock_guard lock(mutex_);
    auto it = stops_.find(id);
    if (it == stops_.end() || !it->second.give_up) return std::nullopt;
    const Stop& stop = it->second;
    if (stop.armed && *stop.armed <= stop.kill_at) return std::nullopt;
    return stop.kill_at;
  }

  // SIGKILL is set for `kill_at`; returns the timer that this replaces.
  std::optional<uint64_t> Arm(const ContainerId& id, Time kill_at, std::optional<uint64_t> timer) {
    std::lock_guard lock(mutex_);
    Stop& stop = stops_[id];
    stop.armed = kill_at;
    return std::exchange(stop.timer, timer);
  }

  // Returns the timer that is still armed, for the caller to remove: a container that has been started again within
  // the grace of its stop must not be killed by it.
  std::optional<uint64_t> End(const ContainerId& id) {
    std::lock_guard lock(mutex_);
    auto it = stops_.find(id);
    if (it == stops_.end()) return std::nullopt;
    std::optional<uint64_t> timer = it->second.timer;
    stops_.erase(it);
    return timer;
  }

 private:
  struct Stop {
    Time kill_at;
    std::optional<Time> armed;
    std::optional<uint64_t> timer;  // EventLoop's token
    std::function<void()> give_up;
  };
  mutable std::mutex mutex_;
  std::map<ContainerId, Stop> stops_;
};

}  // namespace davit::engine
