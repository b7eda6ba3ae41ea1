#include "sched/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/log.h"

namespace davit::sched {

struct ThreadPool::State {
  State(std::string pool_name, size_t max, std::chrono::milliseconds idle_time)
      : name(std::move(pool_name)), max_threads(std::max<size_t>(max, 1)), idle_limit(idle_time) {}

  const std::string name;
  const size_t max_threads;
  const std::chrono::milliseconds idle_limit;

  std::mutex mutex;
  std::condition_variable work;
  std::deque<std::function<void()>> queue;
  std::list<std::thread> threads;  // running
  std::list<std::thread> ended;    // about to return or returned: join does not wait for a task
  size_t idle = 0;
  bool stopping = false;

  void Run(std::list<std::thread>::iterator self);
  void StartThreadLocked();
};

void ThreadPool::State::StartThreadLocked() {
  auto self = threads.emplace(threads.end());
  try {
    *self = std::thread([this, self] { Run(self); });
  } catch (const std::system_error& error) {
    // The task stays queued: a thread that is running takes it, or the next Post tries again.
    threads.erase(self);
    LogError("thread pool {}: start thread: {}", name, error.what());
  }
}

void ThreadPool::State::Run(std::list<std::thread>::iterator self) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
  std::list<std::thread> join;
  std::unique_lock lock(mutex);
  for (;;) {
    if (queue.empty()) {
      if (stopping) break;
      ++idle;
      bool woken = work.wait_for(lock, idle_limit, [this] { return stopping || !queue.empty(); });
      --idle;
      if (!woken) break;
      continue;
    }
    std::function<void()> task = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it captured is gone before the next one, and outside of the lock
    lock.lock();
  }
  // Join those that ended before: at most one ended thread waits to be joined at any time.
  join.swap(ended);
  ended.splice(ended.end(), threads, self);
  lock.unlock();
  for (std::thread& thread : join) {
    if (thread.joinable()) thread.join();  // the destructor takes handles over
  }
}

ThreadPool::ThreadPool(std::string name, size_t max_threads, std::chrono::milliseconds idle)
    : state_(std::make_shared<State>(std::move(name), max_threads, idle)) {}

ThreadPool::~ThreadPool() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  if (!state_->queue.empty() && state_->threads.empty()) state_->StartThreadLocked();
  state_->work.notify_all();
  // A thread that ends moves itself from one list to the other, so look again after each join.
  while (!state_->threads.empty() || !state_->ended.empty()) {
    if (state_->ended.empty()) {
      std::thread thread;
      thread.swap(state_->threads.front());
      lock.unlock();
      thread.join();
      lock.lock();
      state_->ended.remove_if([](const std::thread& ended) { return !ended.joinable(); });
      continue;
    }
    std::list<std::thread> join;
    join.swap(state_->ended);
    lock.unlock();
    for (std::thread& thread : join) {
      if (thread.joinable()) thread.join();
    }
    lock.lock();
  }
}

void ThreadPool::Post(std::function<void()> task) {
  std::lock_guard lock(state_->mutex);
  state_->queue.push_back(std::move(task));
  if (state_->idle >= state_->queue.size()) {
    state_->work.notify_one();
  } else if (state_->threads.size() < state_->max_threads && !state_->stopping) {
    state_->StartThreadLocked();
  } else if (state_->idle > 0) {
    state_->work.notify_one();
  }
}

size_t ThreadPool::threads() const {
  std::lock_guard lock(state_->mutex);
  return state_->threads.size();
}

}  // namespace davit::sched
