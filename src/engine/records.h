// Records: the one place where pod and container records change: first in the database, then in the
// snapshot that readers see, then as news in the event log.
#pragma once

#include <memory>
#include <mutex>

#include "base/result.h"
#include "engine/events.h"
#include "engine/snapshot.h"
#include "store/database.h"

namespace davit::engine {

class Records {
 public:
  // Loads everything. A record that cannot be read is kDataLoss naming it: nothing is thrown away.
  // `database` and `events` outlive this.
  static Result<std::unique_ptr<Records>> Load(store::Database& database, EventLog& events);

  // Rows that could not be read when davitd started, as they are: each costs its own pod or container, is left in
  // the database for a davitd that can read it, and nothing of it on the node is touched.
  struct Unreadable {
    store::Kind kind;
    std::string id;
    std::string body;
    std::string why;
  };
  [[nodiscard]] const std::vector<Unreadable>& unreadable() const { return unreadable_; }  // never changes

  // Any thread; copies one pointer.
  [[nodiscard]] SnapshotPtr View() const;

  // Calls about one pod come in order (its strand); different pods at the same time.
  Status Put(const pod::PodRecord& record);
  Status Put(const container::ContainerRecord& record);
  // The change is seen, and written by nobody: for what has happened whether it can be written or not.
  void Show(const container::ContainerRecord& record);
  Status Erase(const PodId& id);
  Status Erase(const ContainerId& id);

 private:
  Records(store::Database& database, EventLog& events) : database_(database), events_(events) {}
  template <class Id, class Change>
  void Publish(const Id& id, const Change& change);

  store::Database& database_;
  EventLog& events_;
  std::vector<Unreadable> unreadable_;
  std::mutex writers_;
  mutable std::mutex pointer_lock_;  // held to copy or swap one pointer
  std::shared_ptr<const Snapshot> snapshot_ = std::make_shared<Snapshot>();
};

}  // namespace davit::engine
