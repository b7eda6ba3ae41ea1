// EventLog: tells subscribers what happens to pods and containers (CRI GetContainerEvents, KEP-3386).
//
// Where events come from: Records, after each change is committed and visible. So a List after an event is
// never older than the event, the events of one container come in its order, and an event carries the pod and
// its containers of the very snapshot that the change made.
//
//   container   created (record kCreated), started, stopped (also: could not be started), deleted
//   sandbox     the same four, with the sandbox's id: created and started once it is ready, stopped once its
//               containers and network are gone, deleted once it is removed
// What is only being made, and what failed to be made, has no events.
//
// Nothing is lost silently. Each subscriber has a bounded queue; one that reads too slowly gets what is
// queued and then the end of its stream, an error that says how many events it has missed: it lists and
// subscribes again. A subscription begins with the events that follow it, except that one opened within
// `replay` of the start first gets the events of recovery (exits that happened while no davitd ran): a client
// that reconnects after a restart hears of them.
//
// Thread rules: all methods from any thread. Note only queues (it is called under the writers' lock of
// Records); wake functions are called by Deliver and Close, with no lock held.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/snapshot.h"

namespace davit::engine {

enum class EventKind { kCreated = 0, kStarted = 1, kStopped = 2, kDeleted = 3 };  // CRI's numbers

struct Event {
  std::string id;  // of the container, or of the sandbox itself
  EventKind kind = EventKind::kCreated;
  int64_t created_at = 0;  // wall nanoseconds
  PodPtr pod;              // the last record of a pod that is deleted
  std::vector<ContainerPtr> containers;
};
using EventPtr = std::shared_ptr<const Event>;

class EventSubscription {
 public:
  // The next event; nullptr: none now, the wake function is called once there is one. An error ends it:
  // kOutOfRange (events were lost), kUnavailable (the log is closed).
  Result<EventPtr> Next();

 private:
  friend class EventLog;
  EventSubscription(size_t capacity, std::function<void()> wake) : capacity_(capacity), wake_(std::move(wake)) {}
  bool Push(const EventPtr& event);  // whether it was lost
  void Close();
  void WakeIfWaiting();

  const size_t capacity_;
  const std::function<void()> wake_;
  std::mutex mutex_;
  std::deque<EventPtr> queue_;
  uint64_t lost_ = 0;
  bool closed_ = false;
  bool waiting_ = false;  // Next has said "none now"
};

struct EventOptions {
  size_t queue = 1024;  // events for one subscriber: some hundred bytes each, and the records they hold on to
  size_t subscribers = 32;
  std::chrono::seconds replay{60};
  bool show_standalone = false;  // pods and containers that people made, too
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

class EventLog {
 public:
  explicit EventLog(EventOptions options = {});

  // The state that no event tells: what was loaded at the start.
  void Begin(const Snapshot& loaded);
  // The change of one record, between two snapshots.
  void Note(const Snapshot& before, const Snapshot& after, const PodId& id);
  void Note(const Snapshot& before, const Snapshot& after, const ContainerId& id);
  // Wakes who waits for what was noted.
  void Deliver();

  // From here on events are news and no longer kept for replay.
  void EndRecovery();

  // `wake` must not block; it is called from the threads that change records, and may be called once more
  // after the subscription was dropped. kResourceExhausted beyond the number of subscribers.
  Result<std::shared_ptr<EventSubscription>> Subscribe(std::function<void()> wake);
  // Ends every subscription, also later ones.
  void Close();

  struct Counters {
    uint64_t published = 0;
    uint64_t lost = 0;  // summed over subscribers
    size_t subscribers = 0;
  };
  [[nodiscard]] Counters counters() const;

 private:
  enum class Stage { kNone, kCreated, kRunning, kExited };
  static Stage StageOf(const container::ContainerRecord& record);
  Stage StageOf(const pod::PodRecord& record) const;
  void Emit(Stage from, Stage to, const std::string& id, const PodPtr& pod, const Snapshot& view);

  const EventOptions options_;
  mutable std::mutex mutex_;
  std::map<PodId, Stage> pods_;  // a removal has a phase, but no memory of whether the pod ever ran
  std::vector<std::weak_ptr<EventSubscription>> subscribers_;
  std::vector<EventPtr> recovery_;
  bool recovering_ = true;
  std::chrono::steady_clock::time_point recovered_at_;
  bool closed_ = false;
  uint64_t published_ = 0;
  uint64_t lost_ = 0;
};

}  // namespace davit::engine
