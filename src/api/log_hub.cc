#include "api/log_hub.h"

#include <pthread.h>

#include "base/log.h"

namespace davit::api {
namespace {

constexpr std::chrono::milliseconds kPeriod{100};
constexpr int kAskEvery = 2;  // periods
constexpr size_t kMostPerRound = 1u << 20;

bool Ended(const control::Container* container) {
  if (container == nullptr) return true;
  return container->state() == control::STATE_EXITED || container->state() == control::STATE_DEAD ||
         container->state() == control::STATE_REMOVING;
}

}  // namespace

LogHub::~LogHub() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void LogHub::Ensure() {  // under the lock
  if (running_) {
    changed_.notify_all();
    return;
  }
  // The one before has left its loop: joining it does not wait.
  if (thread_.joinable()) thread_.join();
  running_ = true;
  thread_ = std::thread([this] { Run(); });
}

void LogHub::Follow(ExchangePtr exchange, std::string container, client::LogFile file, LogFrames frames) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  followers_.push_back(std::make_unique<Follower>(
      Follower{std::move(exchange), std::move(container), std::move(file), std::move(frames)}));
  Ensure();
}

void LogHub::WaitFor(const ExchangePtr& exchange, std::string container,
                     std::function<bool(const control::Container*)> holds,
                     std::function<void(const control::Container*)> done) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  waiters_.push_back(Waiter{exchange, std::move(container), std::move(holds), std::move(done)});
  Ensure();
}

size_t LogHub::followers() const {
  std::lock_guard lock(mutex_);
  return followers_.size();
}

bool LogHub::Drain(Follower& follower, bool ended) {
  if (follower.exchange->closed()) return false;
  size_t taken = 0;
  while (taken < kMostPerRound) {
    if (follower.exchange->unsent() > Exchange::kHigh) return true;  // the client is slow: later
    Result<std::string> bytes = follower.file.Read();
    if (!bytes.ok()) break;
    if (bytes->empty()) {
      if (follower.file.Rotated()) continue;
      if (!ended) return true;
      follower.exchange->Write(follower.frames.Finish());
      break;
    }
    taken += bytes->size();
    if (!follower.exchange->Write(follower.frames.Feed(*bytes))) return false;
    if (follower.frames.past_end()) break;
  }
  if (taken >= kMostPerRound) return true;
  follower.exchange->End();
  return false;
}

void LogHub::Run() {
  ::pthread_setname_np(::pthread_self(), "davit-api-logs");
  std::vector<std::unique_ptr<Follower>> mine;
  std::vector<Waiter> waiting;
  std::map<std::string, control::Container> states;
  bool known = false;
  for (int period = 0;; ++period) {
    bool fresh = false;
    {
      std::unique_lock lock(mutex_);
      for (auto& follower : followers_) mine.push_back(std::move(follower));
      for (auto& waiter : waiters_) waiting.push_back(std::move(waiter));
      fresh = !followers_.empty() || !waiters_.empty();
      followers_.clear();
      waiters_.clear();
      if (stopping_ || (mine.empty() && waiting.empty())) {
        running_ = false;
        return;
      }
    }
    bool asked = fresh || period % kAskEvery == 0;
    if (asked) {
      Result<std::vector<Entry>> entries = engine_.Containers();
      known = entries.ok();  // while davitd restarts, nobody has ended
      states.clear();
      if (entries.ok()) {
        for (Entry& entry : *entries) states.emplace(entry.container.id(), std::move(entry.container));
      }
    }
    auto state = [&](const std::string& id) -> const control::Container* {
      auto it = states.find(id);
      return it == states.end() ? nullptr : &it->second;
    };
    std::erase_if(mine, [&](std::unique_ptr<Follower>& follower) {
      return !Drain(*follower, asked && known && Ended(state(follower->container)));
    });
    if (asked && known) {
      std::erase_if(waiting, [&](Waiter& waiter) {
        if (waiter.exchange->closed()) return true;
        const control::Container* container = state(waiter.container);
        if (container != nullptr && !waiter.holds(container)) return false;
        waiter.done(container);
        return true;
      });
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPeriod, [&] { return stopping_; });
  }
}

}  // namespace davit::api
