// A bounded pool of threads for blocking work (spawning runtimes, CNI plugins, SQLite).
//
// Two bounds: how many tasks run side by side as long as they get on, and how many more threads may be
// started when they do not (a runtime that hangs, a plugin that waits for a dead server). Without the
// second a few stuck tasks would stop everybody; with one large bound a burst would start too much at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace davit::sched {

// Threads beyond the pool's own for tasks that wait behind stuck ones: one more is started whenever the
// oldest queued task has waited for `patience`. They end like the others, after idle seconds.
struct Overflow {
  size_t threads = 0;
  std::chrono::milliseconds patience{50};
};

class ThreadPool {
 public:
  // Threads start on demand up to `max_threads` (at least one) and end after ten idle seconds, so that
  // an idle daemon holds no stacks. `name` (15 bytes at most) is what ps -L shows.
  ThreadPool(std::string name, size_t max_threads, std::chrono::milliseconds idle = std::chrono::seconds(10),
             Overflow overflow = {});
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
