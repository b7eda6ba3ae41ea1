// Strands: tasks of one key run one after another, in the order posted; different keys in parallel on
// the pool. No thread is held by a key that has nothing to run, and a key without tasks costs nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "sched/thread_pool.h"

namespace davit::sched {

class Strands {
 public:
  explicit Strands(ThreadPool& pool);  // `pool` outlives this
  ~Strands();                          // waits for the tasks that were posted; not from one of them
  Strands(const Strands&) = delete;
  Strands& operator=(const Strands&) = delete;

  // Any thread, also from within a task.
  void Post(const std::string& key, std::function<void()> task);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace davit::sched
