// PullSlots: which pulls run. A registry that is slow, or an image that is large, takes a part of the slots only: the
// pulls of one host beyond its share wait for each other and for nobody else.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "sched/thread_pool.h"

namespace davit::engine {

class PullSlots {
 public:
  // `pool` has the threads for all hosts together. It ends before this, for its tasks use this.
  PullSlots(sched::ThreadPool& pool, size_t per_host) : pool_(pool), per_host_(per_host) {}

  // Any thread. Runs the task on the pool when the host has a slot, in order.
  void Post(const std::string& host, std::function<void()> task) {
    {
      std::lock_guard lock(mutex_);
      Host& own = hosts_[host];
      if (own.running >= per_host_) {
        own.waiting.push_back(std::move(task));
        return;
      }
      ++own.running;
    }
    Start(host, std::move(task));
  }

 private:
  struct Host {
    size_t running = 0;
    std::deque<std::function<void()>> waiting;
  };

  void Start(const std::string& host, std::function<void()> task) {
    pool_.Post([this, host, task = std::move(task)] {
      task();
      std::function<void()> next;
      {
        std::lock_guard lock(mutex_);
        auto own = hosts_.find(host);
        if (own->second.waiting.empty()) {
          if (--own->second.running == 0) hosts_.erase(own);
        } else {
          next = std::move(own->second.waiting.front());
          own->second.waiting.pop_front();
        }
      }
      if (next) Start(host, std::move(next));
    });
  }

  sched::ThreadPool& pool_;
  const size_t per_host_;
  std::mutex mutex_;
  std::map<std::string, Host> hosts_;
};

}  // namespace davit::engine
