// ActivityLog: what happened to pods, containers, images, volumes and networks, in the words of Docker's and Podman's
// event streams, the kubelet's objects included. The last ones are kept in memory for replay; they die with davitd.
//
// What can be seen in the records comes from there (Note, called by Records between the two snapshots of a change), so
// nothing that a record tells is missed or told twice; the rest (a signal sent, an image pulled) is added by who does
// it.
//
// Thread rules: all methods from any thread. Note and Add only queue; wake functions are called by Deliver, with no
// lock held.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/snapshot.h"

namespace davit::engine {

struct Activity {
  std::string type;    // container, pod, image, volume, network
  std::string action;  // Docker's words where it has one: create, start, die, kill, oom, rename, destroy, …
  std::string id;
  int64_t time = 0;  // wall nanoseconds
  std::map<std::string, std::string> attributes;
  bool standalone = false;
};
using ActivityPtr = std::shared_ptr<const Activity>;

class ActivityLog {
 public:
  explicit ActivityLog(size_t kept = 1000, size_t readers = 1024) : kept_(kept), max_readers_(readers) {}

  void Note(const Snapshot& before, const Snapshot& after, const ContainerId& id);
  void Note(const Snapshot& before, const Snapshot& after, const PodId& id);
  void Add(Activity activity);  // its time is now, unless it has one
  void Deliver();

  class Reader;
  // What is kept from `since` on (wall nanoseconds; 0: nothing that was before), then what comes. `wake` must not
  // block. kResourceExhausted: too many readers; kUnavailable: the log is closed.
  Result<std::shared_ptr<Reader>> Follow(int64_t since, std::function<void()> wake);
  // The next one; nullptr: none now, the reader is woken once there is. kOutOfRange: this many were overwritten unread;
  // kUnavailable: closed.
  Result<ActivityPtr> Next(Reader& reader);
  void Close();

 private:
  void AddLocked(Activity activity);

  const size_t kept_;
  const size_t max_readers_;
  std::mutex mutex_;
  std::deque<ActivityPtr> log_;
  uint64_t first_ = 0;  // number of log_.front()
  std::vector<std::weak_ptr<Reader>> readers_;
  bool closed_ = false;
};

// What events of a container tell beside its id: name, image, pod and labels.
std::map<std::string, std::string> AttributesOf(const container::ContainerRecord& record);

}  // namespace davit::engine
