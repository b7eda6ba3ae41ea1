#include "engine/records.h"

namespace davit::engine {
namespace {

// Pods die with the boot: their records need atomicity, not durability (invariant 5).
constexpr store::Durability kDurability = store::Durability::kAtomic;

}  // namespace

Result<std::unique_ptr<Records>> Records::Load(store::Database& database, EventLog& events) {
  auto loaded = std::make_shared<Snapshot>();
  ASSIGN_OR_RETURN(std::vector<store::Record> pods, database.LoadAll(store::Kind::kPod));
  for (const store::Record& record : pods) {
    ASSIGN_OR_RETURN_WITH(pod::PodRecord pod, pod::ParsePodRecord(record.body), "pod record " + record.id);
    PodId id = pod.id;  // an assignment evaluates its right side first
    loaded->pods[id] = std::make_shared<const pod::PodRecord>(std::move(pod));
  }
  ASSIGN_OR_RETURN(std::vector<store::Record> containers, database.LoadAll(store::Kind::kContainer));
  for (const store::Record& record : containers) {
    ASSIGN_OR_RETURN_WITH(container::ContainerRecord parsed, container::ParseContainerRecord(record.body),
                          "container record " + record.id);
    ContainerId id = parsed.id;
    loaded->containers[id] = std::make_shared<const container::ContainerRecord>(std::move(parsed));
  }
  auto records = std::unique_ptr<Records>(new Records(database, events));
  events.Begin(*loaded);
  records->snapshot_ = std::move(loaded);
  return records;
}

SnapshotPtr Records::View() const {
  std::lock_guard lock(pointer_lock_);
  return SnapshotPtr(snapshot_);
}

// Copies the two maps of pointers: some microseconds for a full node, and readers keep what they hold.
template <class Id, class Change>
void Records::Publish(const Id& id, const Change& change) {
  {
    std::lock_guard writers(writers_);
    const SnapshotPtr current = View();
    auto next = std::make_shared<Snapshot>(*current);
    change(*next);
    std::shared_ptr<const Snapshot> published = next;
    {
      std::lock_guard lock(pointer_lock_);
      snapshot_.swap(published);
    }
    // `published` is the old one now; it is freed outside the pointer's lock. Noted under the writers' lock:
    // events come in the order of the snapshots.
    events_.Note(*published, *next, id);
  }
  events_.Deliver();
}

Status Records::Put(const pod::PodRecord& record) {
  RETURN_IF_ERROR(database_.Put(store::Kind::kPod, record.id.str(), pod::ToText(record), kDurability));
  Publish(record.id, [&](Snapshot& next) { next.pods[record.id] = std::make_shared<const pod::PodRecord>(record); });
  return {};
}

Status Records::Put(const container::ContainerRecord& record) {
  RETURN_IF_ERROR(database_.Put(store::Kind::kContainer, record.id.str(), container::ToText(record), kDurability));
  Publish(record.id, [&](Snapshot& next) {
    next.containers[record.id] = std::make_shared<const container::ContainerRecord>(record);
  });
  return {};
}

Status Records::Erase(const PodId& id) {
  RETURN_IF_ERROR(database_.Delete(store::Kind::kPod, id.str(), kDurability));
  Publish(id, [&](Snapshot& next) { next.pods.erase(id); });
  return {};
}

Status Records::Erase(const ContainerId& id) {
  RETURN_IF_ERROR(database_.Delete(store::Kind::kContainer, id.str(), kDurability));
  Publish(id, [&](Snapshot& next) { next.containers.erase(id); });
  return {};
}

}  // namespace davit::engine
