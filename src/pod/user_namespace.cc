#include "pod/user_namespace.h"

#include <string>

namespace davit::pod {
namespace {

constexpr const char* kField = "linux.security_context.namespace_options.userns_options";

Status Bad(const std::string& text) { return InvalidArgument(kField + text); }

std::vector<sys::IdRange> ToRanges(const std::vector<IdMapping>& mappings) {
  std::vector<sys::IdRange> ranges;
  for (const IdMapping& mapping : mappings) ranges.push_back({mapping.container_id, mapping.host_id, mapping.length});
  return ranges;
}

Status ValidateMapping(const std::vector<IdMapping>& mappings, const std::string& name) {
  if (mappings.size() != 1) {
    return Bad("." + name + ": " + std::to_string(mappings.size()) + " mappings; exactly one is supported");
  }
  const IdMapping& mapping = mappings[0];
  if (mapping.length == 0) return Bad("." + name + "[0].length is 0");
  if (mapping.container_id != 0) {
    return Bad("." + name + "[0].container_id is " + std::to_string(mapping.container_id) +
               ": container ID 0 must be mapped");
  }
  // 2^32-1 is no id but "no change" (chown(2)).
  uint64_t end = uint64_t{mapping.host_id} + mapping.length;
  if (end > UINT32_MAX) {
    return Bad("." + name + "[0]: host IDs " + std::to_string(mapping.host_id) + " to " + std::to_string(end - 1) +
               " go past 4294967294");
  }
  return {};
}

bool Same(const IdMapping& a, const IdMapping& b) {
  return a.host_id == b.host_id && a.container_id == b.container_id && a.length == b.length;
}

}  // namespace

Status ValidateUserNamespace(const PodSpec& spec) {
  if (!spec.user) return {};
  const UserNamespace& user = *spec.user;
  if (user.mode == NamespaceMode::kNode) {
    if (user.uids.empty() && user.gids.empty()) return {};
    return Bad(": mode NODE with mappings; they need mode POD");
  }
  if (user.mode != NamespaceMode::kPod) {
    return Bad(std::string(".mode: ") + (user.mode == NamespaceMode::kContainer ? "CONTAINER" : "TARGET") +
               " is not supported; only POD and NODE");
  }
  RETURN_IF_ERROR(ValidateMapping(user.uids, "uids"));
  RETURN_IF_ERROR(ValidateMapping(user.gids, "gids"));
  if (!Same(user.uids[0], user.gids[0])) return Bad(": uids and gids differ; one mapping for both is supported");
  // sysfs belongs to the network namespace, mqueue to the IPC and proc to the PID namespace: root of the
  // pod may mount them only for namespaces that its user namespace owns.
  if (spec.network == NamespaceMode::kNode) return Bad(": not with the node's network namespace");
  if (spec.ipc == NamespaceMode::kNode) return Bad(": not with the node's IPC namespace");
  if (spec.pid == NamespaceMode::kNode) return Bad(": not with the node's PID namespace");
  return {};
}

sys::IdMap ToIdMap(const PodSpec& spec) { return {ToRanges(spec.user->uids), ToRanges(spec.user->gids)}; }

uint32_t MappedRootUser(const PodSpec& spec) { return spec.has_user_namespace() ? spec.user->uids[0].host_id : 0; }
uint32_t MappedRootGroup(const PodSpec& spec) { return spec.has_user_namespace() ? spec.user->gids[0].host_id : 0; }

}  // namespace davit::pod
