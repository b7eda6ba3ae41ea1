#include "sched/strand.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

namespace davit::sched {

struct Strands::State : std::enable_shared_from_this<Strands::State> {
  explicit State(ThreadPool& p) : pool(p) {}

  ThreadPool& pool;  // outlives the Strands, whose destructor waits until `queues` is empty
  std::mutex mutex;
  std::condition_variable drained;
  // A key is here from its first task's Post until its last task has returned.
  std::map<std::string, std::deque<std::function<void()>>> queues;

  void Schedule(const std::string& key) {
    pool.Post([self = shared_from_this(), key] { self->RunOne(key); });
  }
  void RunOne(const std::string& key);
};

void Strands::State::RunOne(const std::string& key) {
  std::function<void()> task;
  {
    std::lock_guard lock(mutex);
    task = std::move(queues.find(key)->second.front());
  }
  task();
  task = nullptr;  // what it captured is gone before the destructor's wait ends
  std::lock_guard lock(mutex);
  auto it = queues.find(key);
  it->second.pop_front();
  if (it->second.empty()) {
    queues.erase(it);
    if (queues.empty()) drained.notify_all();
    return;
  }
  // One task a turn: a key with many tasks must not keep a thread from the other keys. Under the lock,
  // because afterwards nothing here keeps the pool alive.
  Schedule(key);
}

Strands::Strands(ThreadPool& pool) : state_(std::make_shared<State>(pool)) {}

Strands::~Strands() {
  std::unique_lock lock(state_->mutex);
  state_->drained.wait(lock, [this] { return state_->queues.empty(); });
}

void Strands::Post(const std::string& key, std::function<void()> task) {
  std::lock_guard lock(state_->mutex);
  auto [it, fresh] = state_->queues.try_emplace(key);
  it->second.push_back(std::move(task));
  if (fresh) state_->Schedule(key);
}

}  // namespace davit::sched
