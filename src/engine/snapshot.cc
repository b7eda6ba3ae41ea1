#include "engine/snapshot.h"

#include <algorithm>

#include "base/strings.h"

namespace davit::engine {
namespace {

template <class IdType, class Ptr>
Result<Ptr> Find(const PersistentMap<IdType, Ptr>& records, std::string_view text, std::string_view noun,
                 std::string_view field) {
  Status missing = NotFound(std::string(noun) + " \"" + Printable(text) + "\" not found");
  if (text.empty()) return InvalidArgument(std::string(field) + " is empty");
  if (Result<IdType> id = IdType::Parse(text); id.ok()) {
    auto it = records.find(*id);
    if (it == records.end() || !Listed(*it->second)) return missing;
    return it->second;
  }
  Ptr found;
  for (const auto& [id, record] : records) {
    if (id.str().compare(0, text.size(), text) != 0 || !Listed(*record)) continue;
    if (found) {
      return InvalidArgument(std::string(field) + " \"" + Printable(text) + "\" fits more than one " +
                             std::string(noun));
    }
    found = record;
  }
  if (!found) return missing;
  return found;
}

// Implicit pods have no name of their own.
bool HasName(const pod::PodRecord& record) { return record.spec.standalone && !record.spec.implicit; }
bool HasName(const container::ContainerRecord& record) { return IsStandalone(record); }

template <class IdType, class Ptr>
Result<Ptr> FindNamed(const PersistentMap<IdType, Ptr>& records, std::string_view text, std::string_view noun) {
  if (text.empty()) return InvalidArgument(std::string(noun) + ": the name is empty");
  if (Result<IdType> id = IdType::Parse(text); id.ok()) {
    auto it = records.find(*id);
    if (it != records.end() && Listed(*it->second)) return it->second;
  }
  std::vector<Ptr> begin;
  for (const auto& [id, record] : records) {
    if (!Listed(*record)) continue;
    if (HasName(*record) && record->spec.name == text) return record;
    if (id.str().compare(0, text.size(), text) == 0) begin.push_back(record);
  }
  if (begin.size() > 1) {
    std::erase_if(begin, [](const Ptr& record) { return !IsStandalone(*record); });
    if (begin.size() != 1) {
      return InvalidArgument("\"" + Printable(text) + "\" fits more than one " + std::string(noun));
    }
  }
  if (begin.empty()) return NotFound("no " + std::string(noun) + " with name or ID \"" + Printable(text) + "\"");
  return begin[0];
}

}  // namespace

Result<PodPtr> Snapshot::FindNamedPod(std::string_view text) const { return FindNamed(pods_, text, "pod"); }
Result<ContainerPtr> Snapshot::FindNamedContainer(std::string_view text) const {
  return FindNamed(containers_, text, "container");
}

// A standalone one is there while it is made, too: it was before, and stays if that fails.
bool Listed(const pod::PodRecord& record) { return record.phase != pod::Phase::kCreating || IsStandalone(record); }
bool Listed(const container::ContainerRecord& record) {
  return record.phase != container::Phase::kCreating || IsStandalone(record);
}

Result<PodPtr> Snapshot::FindPod(std::string_view text) const {
  return Find(pods_, text, "pod sandbox", "pod_sandbox_id");
}

Result<ContainerPtr> Snapshot::FindContainer(std::string_view text) const {
  return Find(containers_, text, "container", "container_id");
}

std::vector<ContainerPtr> Snapshot::ContainersOf(const PodId& pod) const {
  const auto group = by_pod_.find(pod);
  return group == by_pod_.end() ? std::vector<ContainerPtr>() : *group->second;
}

void Snapshot::Put(PodPtr pod) {
  const PodId id = pod->id;
  pods_.Set(id, std::move(pod));
}

void Snapshot::Put(ContainerPtr container) {
  const ContainerId id = container->id;
  const auto group = by_pod_.find(container->pod);
  auto next = group == by_pod_.end() ? std::make_shared<std::vector<ContainerPtr>>()
                                     : std::make_shared<std::vector<ContainerPtr>>(*group->second);
  const auto place =
      std::lower_bound(next->begin(), next->end(), id,
                       [](const ContainerPtr& one, const ContainerId& wanted) { return one->id < wanted; });
  if (place != next->end() && (*place)->id == id) {
    *place = container;
  } else {
    next->insert(place, container);
  }
  by_pod_.Set(container->pod, std::move(next));
  containers_.Set(id, std::move(container));
}

void Snapshot::Erase(const PodId& id) { pods_.Erase(id); }

void Snapshot::Erase(const ContainerId& id) {
  const auto found = containers_.find(id);
  if (found == containers_.end()) return;
  const PodId pod = found->second->pod;
  auto left = std::make_shared<std::vector<ContainerPtr>>(*by_pod_.at(pod));
  std::erase_if(*left, [&](const ContainerPtr& one) { return one->id == id; });
  if (left->empty()) {
    by_pod_.Erase(pod);
  } else {
    by_pod_.Set(pod, std::move(left));
  }
  containers_.Erase(id);
}

}  // namespace davit::engine
