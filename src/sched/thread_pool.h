// A bounded pool of threads for blocking work (spawning runtimes, CNI plugins, SQLite).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace davit::sched {

class ThreadPool {
 public:
  // Threads start on demand up to `max_threads` and end after ten idle seconds, so that an idle daemon
  // holds no stacks. `name` (15 bytes at most) is what ps -L shows.
  ThreadPool(std::string name, size_t max_threads);
  ~ThreadPool();  // runs what is queued, then joins
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Any thread. Tasks must not throw.
  void Post(std::function<void()> task);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace davit::sched
