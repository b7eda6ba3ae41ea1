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

}  // namespace

bool Listed(const pod::PodRecord& record) { return record.phase != pod::Phase::kCreating; }
bool Listed(const container::ContainerRecord& record) { return record.phase != container::Phase::kCreating; }

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
