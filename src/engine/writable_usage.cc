#include "engine/writable_usage.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "base/log.h"
#include "sched/idle_worker.h"

namespace davit::engine {
namespace {

constexpr size_t kMaxQueued = 16384;
constexpr int kRestFactor = 9;

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
  sched::BecomeIdle("davit-usage");
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
