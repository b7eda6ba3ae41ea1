#include "engine/events.h"

#include <algorithm>

#include "base/time.h"

namespace davit::engine {

Result<EventPtr> EventSubscription::Next() {
  std::lock_guard lock(mutex_);
  if (closed_) return Unavailable("davitd is ending");
  if (!queue_.empty()) {
    EventPtr event = std::move(queue_.front());
    queue_.pop_front();
    return event;
  }
  if (lost_ > 0) {
    return OutOfRange(std::to_string(lost_) +
                      " events were lost because this client read too slowly: list, then subscribe again");
  }
  waiting_ = true;
  return EventPtr();
}

bool EventSubscription::Push(const EventPtr& event) {
  std::lock_guard lock(mutex_);
  // After a gap nothing more may come: the client would take what follows for the whole story.
  if (lost_ > 0 || queue_.size() >= capacity_) {
    ++lost_;
    return true;
  }
  queue_.push_back(event);
  return false;
}

void EventSubscription::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  queue_.clear();
}

void EventSubscription::WakeIfWaiting() {
  {
    std::lock_guard lock(mutex_);
    if (!waiting_ || (queue_.empty() && !closed_)) return;
    waiting_ = false;
  }
  wake_();
}

EventLog::EventLog(EventOptions options) : options_(std::move(options)) {}

void EventLog::Begin(const Snapshot& loaded) {
  std::lock_guard lock(mutex_);
  for (const auto& [id, record] : loaded.pods()) {
    // One that was being removed was known to clients before: its end is news.
    pods_[id] = record->phase == pod::Phase::kRemoving ? Stage::kExited : StageOf(*record);
  }
}

EventLog::Stage EventLog::StageOf(const container::ContainerRecord& record) {
  using container::Phase;
  switch (record.phase) {
    case Phase::kCreating:
      if (!record.spec.standalone) return Stage::kNone;
      return record.finished_at > 0 ? Stage::kExited : Stage::kCreated;
    case Phase::kDefined:
    case Phase::kCreated:
      return record.finished_at > 0 ? Stage::kExited : Stage::kCreated;
    case Phase::kRunning:
      return Stage::kRunning;
    case Phase::kExited:
      return Stage::kExited;
    case Phase::kRemoving:
      // Without an end it never came to life: a create that failed.
      return record.finished_at > 0 ? Stage::kExited : Stage::kNone;
  }
  return Stage::kNone;
}

EventLog::Stage EventLog::StageOf(const pod::PodRecord& record) const {
  using pod::Phase;
  switch (record.phase) {
    case Phase::kCreating:
    case Phase::kDefined:
      return Stage::kNone;
    case Phase::kReady:
    case Phase::kStopping:
      return Stage::kRunning;
    case Phase::kNotReady:
      return Stage::kExited;
    case Phase::kRemoving: {
      auto known = pods_.find(record.id);
      return known == pods_.end() ? Stage::kNone : known->second;
    }
  }
  return Stage::kNone;
}

void EventLog::Note(const Snapshot& before, const Snapshot& after, const ContainerId& id) {
  auto old = before.containers().find(id);
  auto now = after.containers().find(id);
  Stage from = old == before.containers().end() ? Stage::kNone : StageOf(*old->second);
  Stage to = now == after.containers().end() ? Stage::kNone : StageOf(*now->second);
  if (from == to) return;
  const ContainerPtr& record = now == after.containers().end() ? old->second : now->second;
  auto pod = after.pods().find(record->pod);
  std::lock_guard lock(mutex_);
  Emit(from, to, id.str(), pod == after.pods().end() ? nullptr : pod->second, after);
}

void EventLog::Note(const Snapshot& before, const Snapshot& after, const PodId& id) {
  auto old = before.pods().find(id);
  auto now = after.pods().find(id);
  std::lock_guard lock(mutex_);
  auto known = pods_.find(id);
  Stage from = known == pods_.end() ? Stage::kNone : known->second;
  Stage to = now == after.pods().end() ? Stage::kNone : StageOf(*now->second);
  if (now == after.pods().end()) {
    pods_.erase(id);
  } else {
    pods_[id] = to;
  }
  if (from == to) return;
  Emit(from, to, id.str(), now == after.pods().end() ? old->second : now->second, after);
}

// Every step on the way is told, also where a record took two at once: clients count on the order.
void EventLog::Emit(Stage from, Stage to, const std::string& id, const PodPtr& pod, const Snapshot& view) {
  if (pod && pod->spec.standalone && !options_.show_standalone) return;
  std::vector<EventKind> kinds;
  if (from == Stage::kNone) kinds.push_back(EventKind::kCreated);
  bool runs = to == Stage::kRunning && from != Stage::kRunning;
  if (runs) kinds.push_back(EventKind::kStarted);
  bool ended = from != Stage::kExited && (to == Stage::kExited || to == Stage::kNone);
  if (ended) kinds.push_back(EventKind::kStopped);
  if (to == Stage::kNone) kinds.push_back(EventKind::kDeleted);

  published_ += kinds.size();
  std::erase_if(subscribers_, [](const auto& subscriber) { return subscriber.expired(); });
  if (!recovering_ && options_.now() - recovered_at_ > options_.replay) recovery_.clear();
  if (subscribers_.empty() && !recovering_) return;
  for (EventKind kind : kinds) {
    auto event = std::make_shared<Event>();
    event->id = id;
    event->kind = kind;
    event->created_at = WallNanos();
    event->pod = pod;
    if (pod) {
      for (ContainerPtr& record : view.ContainersOf(pod->id)) {
        if (Listed(*record)) event->containers.push_back(std::move(record));
      }
    }
    if (recovering_) recovery_.push_back(event);
    for (const auto& subscriber : subscribers_) {
      if (std::shared_ptr<EventSubscription> open = subscriber.lock()) lost_ += open->Push(event) ? 1 : 0;
    }
  }
}

void EventLog::Deliver() {
  std::vector<std::shared_ptr<EventSubscription>> open;
  {
    std::lock_guard lock(mutex_);
    for (const auto& subscriber : subscribers_) {
      if (auto strong = subscriber.lock()) open.push_back(std::move(strong));
    }
  }
  for (const auto& subscriber : open) subscriber->WakeIfWaiting();
}

void EventLog::EndRecovery() {
  std::lock_guard lock(mutex_);
  recovering_ = false;
  recovered_at_ = options_.now();
}

Result<std::shared_ptr<EventSubscription>> EventLog::Subscribe(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  if (closed_) return Unavailable("davitd is ending");
  std::erase_if(subscribers_, [](const auto& subscriber) { return subscriber.expired(); });
  if (subscribers_.size() >= options_.subscribers) {
    return ResourceExhausted("there are " + std::to_string(subscribers_.size()) + " subscribers of events already");
  }
  if (!recovering_ && options_.now() - recovered_at_ > options_.replay) recovery_.clear();
  std::shared_ptr<EventSubscription> made(new EventSubscription(options_.queue, std::move(wake)));
  // Beyond the capacity, if need be: there is at most one for each step of each record.
  made->queue_.assign(recovery_.begin(), recovery_.end());
  subscribers_.push_back(made);
  return made;
}

void EventLog::Close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    for (const auto& subscriber : subscribers_) {
      if (auto strong = subscriber.lock()) strong->Close();
    }
  }
  Deliver();
}

EventLog::Counters EventLog::counters() const {
  std::lock_guard lock(mutex_);
  Counters counters;
  counters.published = published_;
  counters.lost = lost_;
  counters.subscribers = static_cast<size_t>(
      std::count_if(subscribers_.begin(), subscribers_.end(), [](const auto& s) { return !s.expired(); }));
  return counters;
}

}  // namespace davit::engine
