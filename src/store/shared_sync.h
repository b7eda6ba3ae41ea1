// SharedSync: one syncfs(2) for all layers that finish at about the same time. Syncing a filesystem
// costs the same for one new tree as for ten, so callers that arrive while one runs share the next.
// Internal to store/.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "base/status.h"

namespace davit::store {

class SharedSync {
 public:
  explicit SharedSync(std::function<Status()> sync) : sync_(std::move(sync)) {}

  // Returns the outcome of a sync that began after this call did. Any thread.
  Status Wait();

 private:
  struct Round {
    bool done = false;
    Status outcome;
  };

  std::function<Status()> sync_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Round> next_;  // collects callers; none: nobody waits for a round to begin
  bool running_ = false;
};

}  // namespace davit::store
