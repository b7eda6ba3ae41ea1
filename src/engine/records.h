// Records: the one place where pod and container records change: first in the database, then in the
// snapshot that readers see.
#pragma once

#include <memory>
#include <mutex>

#include "base/result.h"
#include "engine/snapshot.h"
#include "store/database.h"

namespace davit::engine {

class Records {
 public:
  // Loads everything. A record that cannot be read is kDataLoss naming it: nothing is thrown away.
  // `database` outlives this.
  static Result<std::unique_ptr<Records>> Load(store::Database& database);

  // Any thread; copies one pointer.
  [[nodiscard]] std::shared_ptr<const Snapshot> View() const;

  // Calls about one pod come in order (its strand); different pods at the same time.
  Status Put(const pod::PodRecord& record);
  Status Put(const container::ContainerRecord& record);
  Status Erase(const PodId& id);
  Status Erase(const ContainerId& id);

 private:
  explicit Records(store::Database& database) : database_(database) {}
  template <class Change>
  void Publish(const Change& change);

  store::Database& database_;
  std::mutex writers_;
  mutable std::mutex pointer_lock_;  // held to copy or swap one pointer
  std::shared_ptr<const Snapshot> snapshot_ = std::make_shared<Snapshot>();
};

}  // namespace davit::engine
