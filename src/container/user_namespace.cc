#include "container/user_namespace.h"

#include <algorithm>
#include <string>

namespace davit::container {
namespace {

constexpr const char* kNamespaceOptions = "linux.security_context.namespace_options.";

bool Same(const std::vector<IdMapping>& a, const std::vector<IdMapping>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const IdMapping& x, const IdMapping& y) {
    return x.host_id == y.host_id && x.container_id == y.container_id && x.length == y.length;
  });
}

std::vector<oci::IdMapping> ToRuntime(const std::vector<IdMapping>& mappings) {
  std::vector<oci::IdMapping> out;
  for (const IdMapping& mapping : mappings) out.push_back({mapping.container_id, mapping.host_id, mapping.length});
  return out;
}

// The kubelet sets them on every mount of such a pod, on images too, which are mapped with or without.
Status ValidateMappings(const Mount& mount, size_t index, const PodEnvironment& pod) {
  if (mount.uid_mappings.empty() && mount.gid_mappings.empty()) return {};
  std::string field = "mounts[" + std::to_string(index) + "].";
  if (pod.user_namespace.empty()) return InvalidArgument(field + "uidMappings: the pod has no user namespace");
  if (!Same(mount.uid_mappings, pod.uid_mappings)) {
    return InvalidArgument(field + "uidMappings differ from the pod's user namespace");
  }
  if (!Same(mount.gid_mappings, pod.gid_mappings)) {
    return InvalidArgument(field + "gidMappings differ from the pod's user namespace");
  }
  return {};
}

}  // namespace

Status ValidateUserNamespace(const ContainerSpec& spec, const PodEnvironment& pod) {
  const NamespaceOptions& namespaces = spec.security.namespaces;
  const std::string field = std::string(kNamespaceOptions) + "userns_options";
  bool in_pod = !pod.user_namespace.empty();
  if (namespaces.user) {
    NamespaceMode mode = namespaces.user->mode;
    if (mode != NamespaceMode::kPod && mode != NamespaceMode::kNode) {
      return InvalidArgument(field + ".mode: only POD and NODE are supported");
    }
    if ((mode == NamespaceMode::kPod) != in_pod) {
      return InvalidArgument(field + ".mode differs from the pod's, which " +
                             (in_pod ? "has a user namespace" : "has no user namespace"));
    }
    if (!Same(namespaces.user->uids, pod.uid_mappings)) return InvalidArgument(field + ".uids differ from the pod's");
    if (!Same(namespaces.user->gids, pod.gid_mappings)) return InvalidArgument(field + ".gids differ from the pod's");
  }
  if (in_pod && namespaces.pid == NamespaceMode::kNode) {
    return InvalidArgument(std::string(kNamespaceOptions) + "pid: NODE, but the pod has a user namespace");
  }
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    RETURN_IF_ERROR(ValidateMappings(spec.mounts[i], i, pod));
    if (in_pod && spec.mounts[i].propagation == MountPropagation::kBidirectional) {
      return InvalidArgument("mounts[" + std::to_string(i) +
                             "].propagation: BIDIRECTIONAL cannot work in a pod with a user namespace");
    }
  }
  return {};
}

void AddUserNamespace(const PodEnvironment& pod, oci::Linux& linux_part) {
  if (pod.user_namespace.empty()) return;
  linux_part.namespaces.push_back({"user", pod.user_namespace});
  linux_part.uid_mappings = ToRuntime(pod.uid_mappings);
  linux_part.gid_mappings = ToRuntime(pod.gid_mappings);
}

sys::IdRange MappedIds(const PodEnvironment& pod) {
  if (pod.uid_mappings.empty()) return {};
  const IdMapping& mapping = pod.uid_mappings[0];
  return {mapping.container_id, mapping.host_id, mapping.length};
}

}  // namespace davit::container
