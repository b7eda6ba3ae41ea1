// Exits: who waits for the end of a container. Filled by StopContainer, drained when the exit has been
// recorded.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace davit::engine {

class Exits {
 public:
  // Called once, on the thread that notifies.
  void Add(const ContainerId& id, std::function<void()> waiter) {
    std::lock_guard lock(mutex_);
    waiters_[id].push_back(std::move(waiter));
  }

  void Notify(const ContainerId& id) {
    std::vector<std::function<void()>> waiters;
    {
      std::lock_guard lock(mutex_);
      auto it = waiters_.find(id);
      if (it == waiters_.end()) return;
      waiters = std::move(it->second);
      waiters_.erase(it);
    }
    for (auto& waiter : waiters) waiter();
  }

 private:
  std::mutex mutex_;
  std::map<ContainerId, std::vector<std::function<void()>>> waiters_;
};

}  // namespace davit::engine
