#include "store/shared_sync.h"

namespace davit::store {

Status SharedSync::Wait() {
  std::unique_lock lock(mutex_);
  if (!next_) next_ = std::make_shared<Round>();
  std::shared_ptr<Round> round = next_;
  // A round that is running may have passed our files already.
  changed_.wait(lock, [&] { return round->done || !running_; });
  if (round->done) return round->outcome;

  running_ = true;
  next_.reset();
  lock.unlock();
  Status outcome = sync_();
  lock.lock();
  running_ = false;
  round->done = true;
  round->outcome = outcome;
  changed_.notify_all();
  return outcome;
}

}  // namespace davit::store
