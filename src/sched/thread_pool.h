// A bounded pool of threads for blocking work (spawning runtimes, CNI plugins, SQLite).
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace davit::sched {

class ThreadPool {
 public:
  // Threads start on demand up to `max_threads` (at least one) and end after ten idle seconds, so that
  // an idle daemon holds no stacks. `name` (15 bytes at most) is what ps -L shows.
  ThreadPool(std::string name, size_t max_threads, std::chrono::milliseconds idle = std::chrono::seconds(10));
  // Runs what is queued, also what those tasks post, then joins. Not from one of its own tasks.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Any thread. Tasks must not throw.
  void Post(std::function<void()> task);

  // Threads alive now, for metrics.
  [[nodiscard]] size_t threads() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace davit::sched
