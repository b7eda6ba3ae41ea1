// WritableUsage: measures writable layers in the background, so that nobody who asks for statistics waits
// for a walk through a container's files.
//
// One thread of the lowest priority walks one layer at a time and then rests nine times as long as the walk
// took: a tenth of a core at most, whatever the containers wrote. A layer is measured when its container
// starts, and again when somebody has asked for a value that was too old: an idle node does nothing.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "base/ids.h"

namespace davit::engine {

class WritableUsage {
 public:
  // `measure` walks, on the thread of this object only.
  explicit WritableUsage(std::function<void(const ContainerId&)> measure) : measure_(std::move(measure)) {}
  ~WritableUsage();  // waits for the walk that is going on
  WritableUsage(const WritableUsage&) = delete;
  WritableUsage& operator=(const WritableUsage&) = delete;

  // Any thread; once for many calls until the walk begins. Starts the thread when there is none.
  void Want(const ContainerId& id);

 private:
  void Run();

  const std::function<void(const ContainerId&)> measure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ContainerId> queue_;
  std::set<ContainerId> queued_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace davit::engine
