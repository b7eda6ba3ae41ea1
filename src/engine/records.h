// Records: the one place where pod and container records change: first in the database, then in the
// snapshot that readers see, then as news in the event log.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "base/result.h"
#include "engine/activity.h"
#include "engine/events.h"
#include "engine/snapshot.h"
#include "store/database.h"

namespace davit::engine {

class Records {
 public:
  // Loads everything. A record that cannot be read is kDataLoss naming it: nothing is thrown away.
  // The three outlive this.
  static Result<std::unique_ptr<Records>> Load(store::Database& database, EventLog& events, ActivityLog& activity);

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

  // Called for each change of a container after it is seen, on the thread that makes it; `now` is nullptr when it is
  // gone. Set before the first change; must not block.
  using ContainerChange = std::function<void(const ContainerPtr& before, const ContainerPtr& now)>;
  void OnContainer(ContainerChange change) { on_container_ = std::move(change); }

  // Calls about one pod come in order (its strand); different pods at the same time.
  Status Put(const pod::PodRecord& record);
  Status Put(const container::ContainerRecord& record);
  // The change is seen, and written by nobody: for what has happened whether it can be written or not.
  void Show(const container::ContainerRecord& record);
  Status Erase(const PodId& id);
  Status Erase(const ContainerId& id);

 private:
  Records(store::Database& database, EventLog& events, ActivityLog& activity)
      : database_(database), events_(events), activity_(activity) {}
  // Returns the snapshot before.
  template <class Id, class Change>
  std::shared_ptr<const Snapshot> Publish(const Id& id, const Change& change);
  void Publish(const ContainerId& id, const ContainerPtr& now);

  store::Database& database_;
  EventLog& events_;
  ActivityLog& activity_;
  ContainerChange on_container_;
  std::vector<Unreadable> unreadable_;
  std::mutex writers_;
  mutable std::mutex pointer_lock_;  // held to copy or swap one pointer
  std::shared_ptr<const Snapshot> snapshot_ = std::make_shared<Snapshot>();
};

}  // namespace davit::engine
