#include "cri/crio_inspection.h"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace davit::cri {
namespace {

constexpr std::string_view kContainerName = "io.kubernetes.container.name";
constexpr std::string_view kPodName = "io.kubernetes.pod.name";
constexpr std::string_view kPodNamespace = "io.kubernetes.pod.namespace";
constexpr std::string_view kPodUid = "io.kubernetes.pod.uid";

template <class Map>
boost::json::object ToObject(const Map& labels) {
  boost::json::object object;
  for (const auto& [key, value] : labels) object[key] = value;
  return object;
}

// The kubelet sets them on all that it makes; other clients' pods are told apart by what their metadata says.
void AddKubernetesLabels(boost::json::object& labels, const pod::PodSpec& pod, const std::string& container) {
  labels.emplace(kContainerName, container);
  labels.emplace(kPodName, pod.name);
  labels.emplace(kPodNamespace, pod.namespace_name);
  labels.emplace(kPodUid, pod.uid);
}

std::string NameOf(const pod::PodSpec& pod, const std::string& container, uint32_t attempt) {
  return fmt::format("k8s_{}_{}_{}_{}_{}", container, pod.name, pod.namespace_name, pod.uid, attempt);
}

boost::json::array Addresses(const pod::PodRecord& pod) {
  boost::json::array addresses;
  for (const std::string& ip : pod.ips) addresses.emplace_back(ip);
  return addresses;
}

std::string Info(const std::string& root, bool systemd_cgroups) {
  const boost::json::object all = {{"container_id", 0}, {"host_id", 0}, {"size", uint64_t{4294967295}}};
  // Not "overlay": cAdvisor would look for CRI-O's directories. The kubelet has these figures from CRI.
  return boost::json::serialize(
      boost::json::object{{"storage_driver", "overlayfs"},
                          {"storage_image", ""},
                          {"storage_root", root},
                          {"cgroup_driver", systemd_cgroups ? "systemd" : "cgroupfs"},
                          {"default_id_mappings",
                           boost::json::object{{"uids", boost::json::array{all}}, {"gids", boost::json::array{all}}}}});
}

std::string Container(const container::ContainerRecord& record, const pod::PodRecord& pod, const std::string& root) {
  const container::ContainerSpec& spec = record.spec;
  boost::json::object labels = ToObject(spec.labels);
  AddKubernetesLabels(labels, pod.spec, spec.name);
  const std::string& asked =
      spec.image.user_specified_image.empty() ? spec.image.image : spec.image.user_specified_image;
  return boost::json::serialize(
      boost::json::object{{"name", NameOf(pod.spec, spec.name, spec.attempt)},
                          {"pid", record.phase == container::Phase::kRunning ? record.pid : 0},
                          {"image", record.image_name.empty() ? asked : record.image_name},
                          {"image_ref", record.image_ref.empty() ? record.image_id : record.image_ref},
                          {"created_time", record.created_at},
                          {"labels", std::move(labels)},
                          {"annotations", ToObject(spec.annotations)},
                          {"crio_annotations", boost::json::object()},
                          {"log_path", record.log_path},
                          {"root", fmt::format("{}/containers/{}/upper", root, record.id.str())},
                          {"sandbox", record.pod.str()},
                          {"ip_addresses", Addresses(pod)}});
}

// A process in the pod's network: its init's, or that of a container that runs.
int64_t ProcessOf(const pod::PodRecord& pod, const engine::Snapshot& snapshot) {
  if (pod.init_pid != 0) return pod.init_pid;
  for (const engine::ContainerPtr& container : snapshot.ContainersOf(pod.id)) {
    if (container->phase == container::Phase::kRunning && container->pid != 0) return container->pid;
  }
  return 0;
}

std::string Pod(const pod::PodRecord& pod, const engine::Snapshot& snapshot) {
  boost::json::object labels = ToObject(pod.spec.labels);
  AddKubernetesLabels(labels, pod.spec, "POD");
  return boost::json::serialize(boost::json::object{{"name", NameOf(pod.spec, "POD", pod.spec.attempt)},
                                                    {"pid", ProcessOf(pod, snapshot)},
                                                    {"image", ""},
                                                    {"image_ref", ""},
                                                    {"created_time", pod.created_at},
                                                    {"labels", std::move(labels)},
                                                    {"annotations", ToObject(pod.spec.annotations)},
                                                    {"crio_annotations", boost::json::object()},
                                                    {"log_path", pod.spec.log_directory},
                                                    {"root", ""},
                                                    {"sandbox", pod.id.str()},
                                                    {"ip_addresses", Addresses(pod)}});
}

}  // namespace

std::optional<std::string> CrioInspection(std::string_view path, const engine::Snapshot& snapshot,
                                          const std::string& root, bool systemd_cgroups) {
  constexpr std::string_view kContainers = "/containers/";
  if (path == "/info") return Info(root, systemd_cgroups);
  if (!path.starts_with(kContainers)) return std::nullopt;
  const std::string_view id = path.substr(kContainers.size());
  // By full id alone, as cAdvisor has it from the cgroup's name. It asks the moment that the cgroup appears, which
  // is before the container is made, and after a refusal not again for a long time: so records in the phase
  // "creating" count too. A pid of 0 it asks for again.
  if (Result<ContainerId> container = ContainerId::Parse(id); container.ok()) {
    if (auto found = snapshot.containers().find(*container); found != snapshot.containers().end()) {
      auto pod = snapshot.pods().find(found->second->pod);
      return pod == snapshot.pods().end() ? std::nullopt : std::optional(Container(*found->second, *pod->second, root));
    }
  }
  if (Result<PodId> pod = PodId::Parse(id); pod.ok()) {
    if (auto found = snapshot.pods().find(*pod); found != snapshot.pods().end()) return Pod(*found->second, snapshot);
  }
  return std::nullopt;
}

}  // namespace davit::cri
