#include "engine/standalone.h"

#include <algorithm>

namespace davit::engine {
namespace {

using container::ContainerRecord;
using container::Phase;

constexpr std::chrono::minutes kTombLife{5};
constexpr size_t kMaxTombs = 10'000;

bool Runs(const ContainerRecord& record) { return record.phase == Phase::kRunning; }

// Its run is over; one that is being made again runs soon, and one that will be started again has not come to its end.
bool Ended(const ContainerRecord& record) {
  return (record.phase == Phase::kExited || record.phase == Phase::kDefined || record.phase == Phase::kRemoving) &&
         !record.standalone.restarting;
}

WaitOutcome OutcomeOf(const ContainerRecord& record) { return {record.exit_code, record.standalone.error}; }

bool HoldsAtOnce(const ContainerRecord& record, WaitCondition condition) {
  switch (condition) {
    case WaitCondition::kNotRunning:
      return Ended(record) || (record.phase == Phase::kCreated && !record.standalone.restarting);
    case WaitCondition::kExited:
      return Ended(record) && record.finished_at > 0;
    case WaitCondition::kRunning:
      return Runs(record);
    case WaitCondition::kNextExit:
    case WaitCondition::kRemoved:
    case WaitCondition::kHealthy:
      break;
  }
  return false;
}

bool CameTrue(const ContainerRecord& before, const ContainerRecord& now, WaitCondition condition) {
  const bool ended = Runs(before) && !Runs(now);
  return HoldsAtOnce(now, condition) || (condition == WaitCondition::kNextExit && ended);
}

}  // namespace

bool WantsRestart(const ContainerRecord& record, bool after_boot) {
  if (!record.spec.standalone || record.phase != Phase::kExited) return false;
  const container::RestartPolicy& policy = record.spec.standalone->restart;
  const bool stopped = record.standalone.stopped;
  if (policy.name == "always") return after_boot || !stopped;
  if (stopped) return false;
  if (policy.name == "unless-stopped") return true;
  if (policy.name != "on-failure" || record.exit_code == 0) return false;
  return policy.maximum_retries == 0 || record.standalone.restarts < policy.maximum_retries;
}

std::chrono::milliseconds RestartDelay(uint32_t restarts_in_a_row) {
  constexpr std::chrono::milliseconds kFirst{100};
  constexpr std::chrono::milliseconds kLongest = std::chrono::minutes(1);
  const uint32_t doublings = std::min<uint32_t>(restarts_in_a_row, 10);
  return std::min(kFirst * (1 << doublings), kLongest);
}

Waits::Token Waits::Add(const ContainerPtr& record, WaitCondition condition, Waiter waiter) {
  if (HoldsAtOnce(*record, condition)) {
    waiter(OutcomeOf(*record));
    return 0;
  }
  std::lock_guard lock(mutex_);
  waiting_.push_back({next_, record->id, condition, std::move(waiter)});
  return next_++;
}

void Waits::Cancel(Token token) {
  std::list<Waiting> dropped;
  std::lock_guard lock(mutex_);
  auto it = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& w) { return w.token == token; });
  if (it != waiting_.end()) dropped.splice(dropped.begin(), waiting_, it);
}

template <class Holds>
void Waits::Release(const WaitOutcome& outcome, Holds holds) {
  std::list<Waiting> released;
  {
    std::lock_guard lock(mutex_);
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      auto current = it++;
      if (holds(*current)) released.splice(released.end(), waiting_, current);
    }
  }
  for (const Waiting& waiting : released) waiting.waiter(outcome);
}

void Waits::Note(const ContainerPtr& before, const ContainerPtr& now) {
  if (!before) return;
  if (!now) {
    const WaitOutcome outcome = OutcomeOf(*before);
    {
      std::lock_guard lock(mutex_);
      const auto time = now_();
      std::erase_if(tombs_, [&](const Tomb& tomb) { return tomb.until < time; });
      if (tombs_.size() >= kMaxTombs) tombs_.pop_front();
      tombs_.push_back({before->id, before->spec.name, outcome, time + kTombLife});
    }
    Release(outcome, [&](const Waiting& waiting) { return waiting.id == before->id; });
    return;
  }
  Release(OutcomeOf(*now),
          [&](const Waiting& waiting) { return waiting.id == now->id && CameTrue(*before, *now, waiting.condition); });
}

void Waits::Recheck(Token token, const ContainerPtr& before, const ContainerPtr& now) {
  if (!now) {
    Release(OutcomeOf(*before), [&](const Waiting& waiting) { return waiting.token == token; });
    return;
  }
  Release(OutcomeOf(*now),
          [&](const Waiting& waiting) { return waiting.token == token && CameTrue(*before, *now, waiting.condition); });
}

void Waits::NoteHealthy(const ContainerId& id) {
  Release({}, [&](const Waiting& waiting) { return waiting.id == id && waiting.condition == WaitCondition::kHealthy; });
}

std::optional<WaitOutcome> Waits::Gone(const std::string& text) const {
  std::lock_guard lock(mutex_);
  const auto time = now_();
  for (auto tomb = tombs_.rbegin(); tomb != tombs_.rend(); ++tomb) {
    if (tomb->until >= time && (tomb->id.str() == text || tomb->name == text)) return tomb->outcome;
  }
  return std::nullopt;
}

}  // namespace davit::engine
