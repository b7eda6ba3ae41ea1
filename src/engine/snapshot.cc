#include "engine/snapshot.h"

#include "base/strings.h"

namespace davit::engine {
namespace {

template <class IdType, class Ptr>
Result<Ptr> Find(const std::map<IdType, Ptr>& records, std::string_view text, std::string_view noun,
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
Result<Ptr> FindNamed(const std::map<IdType, Ptr>& records, std::string_view text, std::string_view noun) {
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

Result<PodPtr> Snapshot::FindNamedPod(std::string_view text) const { return FindNamed(pods, text, "pod"); }
Result<ContainerPtr> Snapshot::FindNamedContainer(std::string_view text) const {
  return FindNamed(containers, text, "container");
}

// A standalone one is there while it is made, too: it was before, and stays if that fails.
bool Listed(const pod::PodRecord& record) { return record.phase != pod::Phase::kCreating || IsStandalone(record); }
bool Listed(const container::ContainerRecord& record) {
  return record.phase != container::Phase::kCreating || IsStandalone(record);
}

Result<PodPtr> Snapshot::FindPod(std::string_view text) const {
  return Find(pods, text, "pod sandbox", "pod_sandbox_id");
}

Result<ContainerPtr> Snapshot::FindContainer(std::string_view text) const {
  return Find(containers, text, "container", "container_id");
}

std::vector<ContainerPtr> Snapshot::ContainersOf(const PodId& pod) const {
  std::vector<ContainerPtr> found;
  for (const auto& [id, record] : containers) {
    if (record->pod == pod) found.push_back(record);
  }
  return found;
}

}  // namespace davit::engine
