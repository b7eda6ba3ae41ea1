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
  using Clock = std::chrono::steady_clock;
  struct Task {
    std::function<void()> run;
    Clock::time_point posted;
  };

  State(std::string pool_name, size_t max, std::chrono::milliseconds idle_time, Overflow more)
      : name(std::move(pool_name)), max_threads(std::max<size_t>(max, 1)), idle_limit(idle_time), overflow(more) {}

  const std::string name;
  const size_t max_threads;
  const std::chrono::milliseconds idle_limit;
  const Overflow overflow;

  std::mutex mutex;
  std::condition_variable work;
  std::condition_variable stop;  // wakes the scout early
  std::deque<Task> queue;
  std::list<std::thread> threads;  // running
  std::list<std::thread> ended;    // about to return or returned: join does not wait for a task
  size_t idle = 0;
  bool scouting = false;  // a thread waits for the oldest task's patience to end
  bool stopping = false;

  enum class Role { kWorker, kScout };
  void Run(std::list<std::thread>::iterator self, Role role);
  bool ScoutLocked(std::unique_lock<std::mutex>& lock);
  void StartThreadLocked(Role role);
  void StartScoutLocked();
};

void ThreadPool::State::StartThreadLocked(Role role) {
  auto self = threads.emplace(threads.end());
  try {
    *self = std::thread([this, self, role] { Run(self, role); });
  } catch (const std::system_error& error) {
    // The task stays queued: a thread that is running takes it, or the next Post tries again.
    threads.erase(self);
    if (role == Role::kScout) scouting = false;
    LogError("thread pool {}: start thread: {}", name, error.what());
  }
}

void ThreadPool::State::StartScoutLocked() {
  if (scouting || stopping || threads.size() >= max_threads + overflow.threads) return;
  scouting = true;
  StartThreadLocked(Role::kScout);
}

// True when the oldest task has waited for its patience and nobody took it: the scout becomes a worker.
bool ThreadPool::State::ScoutLocked(std::unique_lock<std::mutex>& lock) {
  while (!stopping && !queue.empty()) {
    Clock::time_point due = queue.front().posted + overflow.patience;
    if (Clock::now() >= due) break;
    stop.wait_until(lock, due, [this] { return stopping; });
  }
  scouting = false;
  return !queue.empty();
}

void ThreadPool::State::Run(std::list<std::thread>::iterator self, Role role) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
  std::list<std::thread> join;
  std::unique_lock lock(mutex);
  bool wanted = role == Role::kWorker || ScoutLocked(lock);
  while (wanted) {
    if (queue.empty()) {
      if (stopping) break;
      ++idle;
      bool woken = work.wait_for(lock, idle_limit, [this] { return stopping || !queue.empty(); });
      --idle;
      if (!woken) break;
      continue;
    }
    std::function<void()> task = std::move(queue.front().run);
    queue.pop_front();
    // This task may be stuck like those before it: somebody has to look after the rest.
    if (!queue.empty() && idle == 0 && threads.size() >= max_threads) StartScoutLocked();
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

ThreadPool::ThreadPool(std::string name, size_t max_threads, std::chrono::milliseconds idle, Overflow overflow)
    : state_(std::make_shared<State>(std::move(name), max_threads, idle, overflow)) {}

ThreadPool::~ThreadPool() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  if (!state_->queue.empty() && state_->threads.empty()) state_->StartThreadLocked(State::Role::kWorker);
  state_->work.notify_all();
  state_->stop.notify_all();
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
  state_->queue.push_back({std::move(task), State::Clock::now()});
  if (state_->idle >= state_->queue.size()) {
    state_->work.notify_one();
  } else if (state_->threads.size() < state_->max_threads && !state_->stopping) {
    state_->StartThreadLocked(State::Role::kWorker);
  } else if (state_->idle > 0) {
    state_->work.notify_one();
  } else {
    state_->StartScoutLocked();
  }
}

size_t ThreadPool::threads() const {
  std::lock_guard lock(state_->mutex);
  return state_->threads.size();
}

}  // namespace davit::sched
