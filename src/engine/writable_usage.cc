#include "engine/writable_usage.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>

#include "base/log.h"

namespace davit::engine {
namespace {

constexpr size_t kMaxQueued = 16384;
constexpr int kRestFactor = 9;

// Best effort: of the calling thread. ioprio_set(2) has no wrapper; class 3 is "idle".
void BecomeIdle() {
  ::pthread_setname_np(::pthread_self(), "davit-usage");
  sched_param param{};
  ::sched_setscheduler(0, SCHED_BATCH, &param);
  ::setpriority(PRIO_PROCESS, 0, 19);
  ::syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 3 << 13);
}

}  // namespace

WritableUsage::~WritableUsage() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void WritableUsage::Want(const ContainerId& id) {
  std::lock_guard lock(mutex_);
  if (stopping_ || queue_.size() >= kMaxQueued || !queued_.insert(id).second) return;
  queue_.push_back(id);
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::system_error& e) {  // the next one who wants something tries again
      LogWarning("measure writable layers: start thread: {}", e.what());
    }
  }
  changed_.notify_all();
}

void WritableUsage::Run() {
  BecomeIdle();
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    ContainerId id = queue_.front();
    queue_.pop_front();
    queued_.erase(id);
    lock.unlock();
    auto began = std::chrono::steady_clock::now();
    measure_(id);
    auto rest = (std::chrono::steady_clock::now() - began) * kRestFactor;
    lock.lock();
    changed_.wait_for(lock, rest, [this] { return stopping_; });
  }
}

}  // namespace davit::engine
