#include "engine/activity.h"

#include <algorithm>

#include "base/time.h"

namespace davit::engine {
namespace {

using container::ContainerRecord;

enum class Stage { kNone, kCreated, kRunning, kEnded };

Stage StageOf(const ContainerRecord* record) {
  using container::Phase;
  if (record == nullptr) return Stage::kNone;
  switch (record->phase) {
    case Phase::kCreating:
      // A standalone container is there before it is made, and between two runs.
      if (!record->spec.standalone) return Stage::kNone;
      return record->finished_at > 0 ? Stage::kEnded : Stage::kCreated;
    case Phase::kDefined:
    case Phase::kCreated:
      return record->finished_at > 0 ? Stage::kEnded : Stage::kCreated;
    case Phase::kRunning:
      return Stage::kRunning;
    case Phase::kExited:
      return Stage::kEnded;
    case Phase::kRemoving:
      return record->finished_at > 0 ? Stage::kEnded : Stage::kCreated;
  }
  return Stage::kNone;
}

template <class Id, class Ptr>
const typename Ptr::element_type* Find(const PersistentMap<Id, Ptr>& records, const Id& id) {
  auto it = records.find(id);
  return it == records.end() ? nullptr : it->second.get();
}

}  // namespace

class ActivityLog::Reader {
 public:
  explicit Reader(std::function<void()> wake) : wake_(std::move(wake)) {}

 private:
  friend class ActivityLog;
  const std::function<void()> wake_;
  // Under the log's mutex.
  uint64_t next_ = 0;
  bool waiting_ = false;
};

std::map<std::string, std::string> AttributesOf(const ContainerRecord& record) {
  std::map<std::string, std::string> attributes(record.spec.labels.begin(), record.spec.labels.end());
  const container::ImageSpec& image = record.spec.image;
  attributes["name"] = record.spec.name;
  attributes["image"] = image.user_specified_image.empty() ? image.image : image.user_specified_image;
  attributes["podId"] = record.pod.str();
  return attributes;
}

void ActivityLog::Note(const Snapshot& before, const Snapshot& after, const ContainerId& id) {
  const ContainerRecord* old = Find(before.containers(), id);
  const ContainerRecord* now = Find(after.containers(), id);
  const ContainerRecord* record = now != nullptr ? now : old;
  if (record == nullptr) return;
  auto add = [&](const char* action, const std::map<std::string, std::string>& more = {}) {
    Activity activity{"container", action, id.str(), 0, AttributesOf(*record), record->spec.standalone.has_value()};
    activity.attributes.insert(more.begin(), more.end());
    AddLocked(std::move(activity));
  };
  std::lock_guard lock(mutex_);
  const Stage from = StageOf(old);
  const Stage to = StageOf(now);
  if (from == Stage::kNone && to != Stage::kNone) add("create");
  if (to == Stage::kRunning && from != Stage::kRunning) add("start");
  if (from == Stage::kRunning && to != Stage::kRunning) {
    if (record->reason == "OOMKilled") add("oom");
    add("die", {{"exitCode", std::to_string(record->exit_code)}});
  }
  if (from != Stage::kNone && to == Stage::kNone) add("destroy");
  if (old == nullptr || now == nullptr) return;
  if (old->standalone.paused != now->standalone.paused) add(now->standalone.paused ? "pause" : "unpause");
  if (old->spec.name != now->spec.name) add("rename", {{"oldName", old->spec.name}});
}

void ActivityLog::Note(const Snapshot& before, const Snapshot& after, const PodId& id) {
  using pod::Phase;
  const pod::PodRecord* old = Find(before.pods(), id);
  const pod::PodRecord* now = Find(after.pods(), id);
  const pod::PodRecord* record = now != nullptr ? now : old;
  if (record == nullptr || record->spec.implicit) return;
  auto add = [&](const char* action) {
    Activity activity{"pod", action, id.str(), 0, record->spec.labels, record->spec.standalone};
    activity.attributes["name"] = record->spec.name;
    AddLocked(std::move(activity));
  };
  auto there = [](const pod::PodRecord* pod) {
    return pod != nullptr && (pod->phase != Phase::kCreating || pod->spec.standalone);
  };
  auto ready = [](const pod::PodRecord* pod) { return pod != nullptr && pod->phase == Phase::kReady; };
  auto ended = [](const pod::PodRecord* pod) { return pod == nullptr || pod->phase == Phase::kNotReady; };
  std::lock_guard lock(mutex_);
  if (!there(old) && there(now)) add("create");
  if (!ready(old) && ready(now)) add("start");
  if (there(old) && !ended(old) && ended(now) && old->phase != Phase::kDefined) add("stop");
  if (old != nullptr && now == nullptr) add("remove");
}

void ActivityLog::Add(Activity activity) {
  {
    std::lock_guard lock(mutex_);
    AddLocked(std::move(activity));
  }
  Deliver();
}

void ActivityLog::AddLocked(Activity activity) {
  if (activity.time == 0) activity.time = WallNanos();
  log_.push_back(std::make_shared<const Activity>(std::move(activity)));
  if (log_.size() <= kept_) return;
  log_.pop_front();
  ++first_;
}

void ActivityLog::Deliver() {
  std::vector<std::shared_ptr<Reader>> woken;
  {
    std::lock_guard lock(mutex_);
    const uint64_t end = first_ + log_.size();
    for (const auto& weak : readers_) {
      std::shared_ptr<Reader> reader = weak.lock();
      if (!reader || !reader->waiting_ || (reader->next_ == end && !closed_)) continue;
      reader->waiting_ = false;
      woken.push_back(std::move(reader));
    }
  }
  for (const auto& reader : woken) reader->wake_();
}

Result<std::shared_ptr<ActivityLog::Reader>> ActivityLog::Follow(int64_t since, std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  if (closed_) return Unavailable("davitd is ending");
  std::erase_if(readers_, [](const auto& reader) { return reader.expired(); });
  if (readers_.size() >= max_readers_) {
    return ResourceExhausted("there are " + std::to_string(readers_.size()) + " readers of events already");
  }
  auto reader = std::make_shared<Reader>(std::move(wake));
  reader->next_ = first_ + log_.size();
  if (since > 0) {
    auto it = std::find_if(log_.begin(), log_.end(), [since](const ActivityPtr& a) { return a->time >= since; });
    reader->next_ = first_ + static_cast<uint64_t>(it - log_.begin());
  }
  readers_.push_back(reader);
  return reader;
}

Result<ActivityPtr> ActivityLog::Next(Reader& reader) {
  std::lock_guard lock(mutex_);
  if (closed_) return Unavailable("davitd is ending");
  if (reader.next_ < first_) {
    const uint64_t lost = first_ - reader.next_;
    return OutOfRange(std::to_string(lost) + " events were lost because this client read too slowly");
  }
  if (reader.next_ < first_ + log_.size()) return log_[reader.next_++ - first_];
  reader.waiting_ = true;
  return ActivityPtr();
}

void ActivityLog::Close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  Deliver();
}

}  // namespace davit::engine
