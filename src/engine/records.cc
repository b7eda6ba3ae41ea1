#include "engine/records.h"

#include <type_traits>

#include "base/log.h"
#include "base/strings.h"

namespace davit::engine {
namespace {

// The kubelet's pods die with the boot: their records need atomicity, not durability (invariant 5). What people made is
// there after a power loss too; of it only what changes at each run may lag behind.
store::Durability DurabilityOf(const pod::PodRecord& record) {
  return record.phase == pod::Phase::kDefined ? store::Durability::kDurable : store::Durability::kAtomic;
}

store::Durability DurabilityOf(const container::ContainerRecord& record) {
  return record.phase == container::Phase::kDefined ? store::Durability::kDurable : store::Durability::kAtomic;
}

}  // namespace

Result<std::unique_ptr<Records>> Records::Load(store::Database& database, EventLog& events, ActivityLog& activity) {
  auto records = std::unique_ptr<Records>(new Records(database, events, activity));
  auto loaded = std::make_shared<Snapshot>();
  // Takes a row that was read; one that was not, or that is another object's, is set aside.
  auto take = [&](store::Kind kind, store::Record row, auto parsed) {
    if (parsed.ok() && parsed->id.str() != row.id) parsed = DataLoss("it has the id " + Printable(parsed->id.str()));
    if (parsed.ok()) {
      loaded->Put(std::make_shared<const std::decay_t<decltype(*parsed)>>(std::move(*parsed)));
      return;
    }
    LogError("the record of {} {} cannot be read and is left alone with all that it has on this node: {}",
             store::KindName(kind), Printable(row.id, 80), parsed.status().message());
    records->unreadable_.push_back({kind, std::move(row.id), std::move(row.body), parsed.status().message()});
  };
  ASSIGN_OR_RETURN(std::vector<store::Record> pods, database.LoadAll(store::Kind::kPod));
  for (store::Record& row : pods) {
    Result<pod::PodRecord> parsed = pod::ParsePodRecord(row.body);
    take(store::Kind::kPod, std::move(row), std::move(parsed));
  }
  ASSIGN_OR_RETURN(std::vector<store::Record> containers, database.LoadAll(store::Kind::kContainer));
  for (store::Record& row : containers) {
    Result<container::ContainerRecord> parsed = container::ParseContainerRecord(row.body);
    take(store::Kind::kContainer, std::move(row), std::move(parsed));
  }
  events.Begin(*loaded);
  records->snapshot_ = std::move(loaded);
  return records;
}

SnapshotPtr Records::View() const {
  std::lock_guard lock(pointer_lock_);
  return SnapshotPtr(snapshot_);
}

// The copy shares all but what changes; readers keep what they hold.
template <class Id, class Change>
std::shared_ptr<const Snapshot> Records::Publish(const Id& id, const Change& change) {
  std::shared_ptr<const Snapshot> published;
  {
    std::lock_guard writers(writers_);
    const SnapshotPtr current = View();
    auto next = std::make_shared<Snapshot>(*current);
    change(*next);
    published = next;
    {
      std::lock_guard lock(pointer_lock_);
      snapshot_.swap(published);
    }
    // `published` is the old one now; it is freed outside the pointer's lock. Noted under the writers' lock:
    // events come in the order of the snapshots.
    events_.Note(*published, *next, id);
    activity_.Note(*published, *next, id);
  }
  events_.Deliver();
  activity_.Deliver();
  return published;
}

void Records::Publish(const ContainerId& id, const ContainerPtr& now) {
  const std::shared_ptr<const Snapshot> before = Publish(id, [&](Snapshot& next) {
    if (now) {
      next.Put(now);
    } else {
      next.Erase(id);
    }
  });
  if (!on_container_) return;
  auto it = before->containers().find(id);
  on_container_(it == before->containers().end() ? nullptr : it->second, now);
}

Status Records::Put(const pod::PodRecord& record) {
  RETURN_IF_ERROR(database_.Put(store::Kind::kPod, record.id.str(), pod::ToText(record), DurabilityOf(record)));
  Publish(record.id, [&](Snapshot& next) { next.Put(std::make_shared<const pod::PodRecord>(record)); });
  return {};
}

Status Records::Put(const container::ContainerRecord& record) {
  RETURN_IF_ERROR(
      database_.Put(store::Kind::kContainer, record.id.str(), container::ToText(record), DurabilityOf(record)));
  Show(record);
  return {};
}

void Records::Show(const container::ContainerRecord& record) {
  Publish(record.id, std::make_shared<const container::ContainerRecord>(record));
}

Status Records::Erase(const PodId& id) {
  RETURN_IF_ERROR(database_.Delete(store::Kind::kPod, id.str(), store::Durability::kAtomic));
  Publish(id, [&](Snapshot& next) { next.Erase(id); });
  return {};
}

Status Records::Erase(const ContainerId& id) {
  RETURN_IF_ERROR(database_.Delete(store::Kind::kContainer, id.str(), store::Durability::kAtomic));
  Publish(id, ContainerPtr());
  return {};
}

}  // namespace davit::engine
