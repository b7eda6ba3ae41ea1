// Operations: requests join, they never collide (ARCHITECTURE.md, invariant 2).
//
// Each operation has a key made of the request's identity. The first request starts it; one with the
// same key that arrives while it runs gets the same result. A request that goes away does not stop it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"

namespace davit::sched {

template <class T>
class Operations {
 public:
  using Done = std::function<void(const Result<T>&)>;

  // Runs `start` unless an operation with this key is running; either way `done` is called once, with
  // the operation's result, on the thread that finishes it. `start` gets the function that finishes it
  // and may call it later from any thread. At most `kMaxWaiters` wait on one key; the next one is
  // refused with kResourceExhausted.
  void Join(const std::string& key, Done done, const std::function<void(std::function<void(Result<T>)>)>& start) {
    bool refused = false;
    {
      std::lock_guard lock(state_->mutex);
      auto [it, fresh] = state_->running.try_emplace(key);
      refused = it->second.size() >= kMaxWaiters;
      if (!refused) {
        it->second.push_back(std::move(done));
        if (!fresh) ++state_->joined;
        if (!fresh) return;
      }
    }
    if (refused) {
      done(ResourceExhausted("too many requests wait for " + key));
      return;
    }
    start([state = state_, key](Result<T> result) {
      std::vector<Done> waiters;
      {
        std::lock_guard lock(state->mutex);
        auto it = state->running.find(key);
        if (it == state->running.end()) return;  // finished twice: the first result stands
        waiters = std::move(it->second);
        state->running.erase(it);
      }
      for (Done& waiter : waiters) waiter(result);
    });
  }

  [[nodiscard]] size_t running() const {
    std::lock_guard lock(state_->mutex);
    return state_->running.size();
  }

  // Requests that found their operation running, since the start.
  [[nodiscard]] uint64_t joined() const {
    std::lock_guard lock(state_->mutex);
    return state_->joined;
  }

 private:
  static constexpr size_t kMaxWaiters = 1024;
  struct State {
    mutable std::mutex mutex;
    std::map<std::string, std::vector<Done>> running;
    uint64_t joined = 0;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace davit::sched
