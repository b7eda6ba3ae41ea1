#include "sched/idle_worker.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "sched/start_thread.h"

namespace davit::sched {

void BecomeIdle(const char* name) {
  ::pthread_setname_np(::pthread_self(), name);
  sched_param param{};
  ::sched_setscheduler(0, SCHED_BATCH, &param);
  ::setpriority(PRIO_PROCESS, 0, 19);
  // ioprio_set(2) has no wrapper; class 3 is "idle".
  ::syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 3 << 13);
}

bool IdleWorker::Pace::ending() const { return worker_.ending_; }

bool IdleWorker::Pace::Rest(int factor) {
  const bool go_on = Sleep((std::chrono::steady_clock::now() - began_) * factor);
  began_ = std::chrono::steady_clock::now();
  return go_on;
}

bool IdleWorker::Pace::Sleep(std::chrono::steady_clock::duration time) {
  std::unique_lock lock(worker_.mutex_);
  return !worker_.changed_.wait_for(lock, time, [&] { return worker_.ending_.load(); });
}

IdleWorker::~IdleWorker() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool IdleWorker::Post(Task task) {
  std::lock_guard lock(mutex_);
  if (ending_) return false;
  if (!thread_.joinable()) {
    Result<std::thread> started = StartThread([this] { Run(); });
    if (!started.ok()) {
      LogWarning("{}: {}", name_, started.status().message());
      return false;
    }
    thread_ = std::move(*started);
  }
  queue_.push_back(std::move(task));
  changed_.notify_all();
  return true;
}

void IdleWorker::Run() {
  BecomeIdle(name_.c_str());
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
    if (ending_) return;
    const Task task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    Pace pace(*this);
    task(pace);
    lock.lock();
  }
}

}  // namespace davit::sched
