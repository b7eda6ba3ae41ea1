// What clients get.

#include <algorithm>
#include <cctype>

#include "base/strings.h"
#include "base/time.h"
#include "cri/convert.h"

namespace davit::cri {
namespace {

template <class Map>
void Fill(Map* out, const std::map<std::string, std::string>& in) {
  for (const auto& [key, value] : in) (*out)[key] = value;
}

v1::PodSandboxMetadata Metadata(const pod::PodSpec& spec) {
  v1::PodSandboxMetadata out;
  out.set_name(spec.name);
  out.set_uid(spec.uid);
  out.set_namespace_(spec.namespace_name);
  out.set_attempt(spec.attempt);
  return out;
}

v1::ContainerMetadata Metadata(const container::ContainerSpec& spec) {
  v1::ContainerMetadata out;
  out.set_name(spec.name);
  out.set_attempt(spec.attempt);
  return out;
}

v1::PodSandboxState StateOf(const pod::PodRecord& record) {
  return record.phase == pod::Phase::kReady ? v1::SANDBOX_READY : v1::SANDBOX_NOTREADY;
}

v1::ContainerState StateOf(const container::ContainerRecord& record) {
  switch (record.phase) {
    case container::Phase::kCreating:
    case container::Phase::kCreated:
    case container::Phase::kDefined:
      return v1::CONTAINER_CREATED;
    case container::Phase::kRunning:
      return v1::CONTAINER_RUNNING;
    case container::Phase::kExited:
      return v1::CONTAINER_EXITED;
    case container::Phase::kRemoving:
      return record.finished_at > 0 ? v1::CONTAINER_EXITED : v1::CONTAINER_UNKNOWN;
  }
  return v1::CONTAINER_UNKNOWN;
}

void FillImageSpec(v1::ImageSpec* out, const container::ImageSpec& in) {
  out->set_image(in.image);
  out->set_user_specified_image(in.user_specified_image);
  out->set_runtime_handler(in.runtime_handler);
  Fill(out->mutable_annotations(), in.annotations);
}

template <class Mapping>
void FillMapping(v1::IDMapping* out, const Mapping& in) {
  out->set_host_id(in.host_id);
  out->set_container_id(in.container_id);
  out->set_length(in.length);
}

void FillMount(v1::Mount* out, const container::Mount& in) {
  out->set_container_path(in.container_path);
  out->set_host_path(in.host_path);
  out->set_readonly(in.readonly);
  out->set_recursive_read_only(in.recursive_read_only);
  out->set_selinux_relabel(in.selinux_relabel);
  out->set_propagation(static_cast<v1::MountPropagation>(in.propagation));
  if (!in.image.empty()) out->mutable_image()->set_image(in.image);
  out->set_image_sub_path(in.image_sub_path);
  for (const container::IdMapping& mapping : in.uid_mappings) FillMapping(out->add_uidmappings(), mapping);
  for (const container::IdMapping& mapping : in.gid_mappings) FillMapping(out->add_gidmappings(), mapping);
  for (const std::string& option : in.mount_options) out->add_mount_options(option);
}

void FillResources(v1::LinuxContainerResources* out, const sys::Resources& in) {
  out->set_cpu_period(in.cpu_period);
  out->set_cpu_quota(in.cpu_quota);
  out->set_cpu_shares(in.cpu_shares);
  out->set_memory_limit_in_bytes(in.memory_limit_bytes);
  out->set_memory_swap_limit_in_bytes(in.memory_swap_limit_bytes);
  out->set_oom_score_adj(in.oom_score_adj);
  out->set_cpuset_cpus(in.cpuset_cpus);
  out->set_cpuset_mems(in.cpuset_mems);
  for (const sys::HugepageLimit& limit : in.hugepage_limits) {
    v1::HugepageLimit* added = out->add_hugepage_limits();
    added->set_page_size(limit.page_size);
    added->set_limit(limit.limit);
  }
  Fill(out->mutable_unified(), in.unified);
}

}  // namespace

bool HasLabels(const ::google::protobuf::Map<std::string, std::string>& wanted,
               const std::map<std::string, std::string>& labels) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& entry) {
    auto it = labels.find(entry.first);
    return it != labels.end() && it->second == entry.second;
  });
}

v1::PodSandbox ToPodSandbox(const pod::PodRecord& record) {
  v1::PodSandbox out;
  out.set_id(record.id.str());
  *out.mutable_metadata() = Metadata(record.spec);
  out.set_state(StateOf(record));
  out.set_created_at(record.created_at);
  Fill(out.mutable_labels(), record.spec.labels);
  Fill(out.mutable_annotations(), record.spec.annotations);
  out.set_runtime_handler(record.spec.runtime_handler);
  return out;
}

v1::PodSandboxStatus ToPodSandboxStatus(const pod::PodRecord& record) {
  v1::PodSandboxStatus out;
  out.set_id(record.id.str());
  *out.mutable_metadata() = Metadata(record.spec);
  out.set_state(StateOf(record));
  out.set_created_at(record.created_at);
  auto* network = out.mutable_network();
  if (!record.ips.empty()) network->set_ip(record.ips[0]);
  for (size_t i = 1; i < record.ips.size(); ++i) network->add_additional_ips()->set_ip(record.ips[i]);
  auto* options = out.mutable_linux()->mutable_namespaces()->mutable_options();
  options->set_network(static_cast<v1::NamespaceMode>(record.spec.network));
  options->set_pid(static_cast<v1::NamespaceMode>(record.spec.pid));
  options->set_ipc(static_cast<v1::NamespaceMode>(record.spec.ipc));
  if (record.spec.user) {
    v1::UserNamespace* user = options->mutable_userns_options();
    user->set_mode(static_cast<v1::NamespaceMode>(record.spec.user->mode));
    for (const pod::IdMapping& mapping : record.spec.user->uids) FillMapping(user->add_uids(), mapping);
    for (const pod::IdMapping& mapping : record.spec.user->gids) FillMapping(user->add_gids(), mapping);
  }
  Fill(out.mutable_labels(), record.spec.labels);
  Fill(out.mutable_annotations(), record.spec.annotations);
  out.set_runtime_handler(record.spec.runtime_handler);
  return out;
}

// The name that the pod has, for the kubelet asks by id and says beside it what the pod said; and what the kubelet
// shows as imageID: where the image is from, so that it can be found again, else what it is.
template <class Message>
void FillImage(Message& out, const container::ContainerRecord& record) {
  FillImageSpec(out.mutable_image(), record.spec.image);
  const std::string& said = record.spec.image.user_specified_image;
  if (!said.empty() || !record.image_name.empty())
    out.mutable_image()->set_image(said.empty() ? record.image_name : said);
  out.set_image_ref(record.image_ref.empty() ? record.image_id : record.image_ref);
  out.set_image_id(record.image_id);
}

v1::Container ToContainer(const container::ContainerRecord& record) {
  v1::Container out;
  out.set_id(record.id.str());
  out.set_pod_sandbox_id(record.pod.str());
  *out.mutable_metadata() = Metadata(record.spec);
  FillImage(out, record);
  out.set_state(StateOf(record));
  out.set_created_at(record.created_at);
  Fill(out.mutable_labels(), record.spec.labels);
  Fill(out.mutable_annotations(), record.spec.annotations);
  return out;
}

v1::ContainerStatus ToContainerStatus(const container::ContainerRecord& record) {
  v1::ContainerStatus out;
  out.set_id(record.id.str());
  *out.mutable_metadata() = Metadata(record.spec);
  out.set_state(StateOf(record));
  out.set_created_at(record.created_at);
  out.set_started_at(record.started_at);
  out.set_finished_at(record.finished_at);
  out.set_exit_code(record.exit_code);
  FillImage(out, record);
  out.set_reason(record.reason);
  out.set_message(record.message);
  Fill(out.mutable_labels(), record.spec.labels);
  Fill(out.mutable_annotations(), record.spec.annotations);
  for (const container::Mount& mount : record.spec.mounts) FillMount(out.add_mounts(), mount);
  out.set_log_path(record.log_path);
  FillResources(out.mutable_resources()->mutable_linux(), record.spec.resources);
  out.set_stop_signal(ToCriSignal(record.spec.stop_signal));
  auto* user = out.mutable_user()->mutable_linux();
  user->set_uid(record.uid);
  user->set_gid(record.gid);
  for (int64_t group : record.groups) user->add_supplemental_groups(group);
  return out;
}

v1::ContainerEventResponse ToContainerEvent(const engine::Event& event) {
  v1::ContainerEventResponse out;
  out.set_container_id(event.id);
  out.set_container_event_type(static_cast<v1::ContainerEventType>(event.kind));
  out.set_created_at(event.created_at);
  if (event.pod) *out.mutable_pod_sandbox_status() = ToPodSandboxStatus(*event.pod);
  for (const engine::ContainerPtr& record : event.containers) {
    *out.add_containers_statuses() = ToContainerStatus(*record);
  }
  return out;
}

v1::Image ToImage(const image::ImageRecord& record) {
  v1::Image out;
  out.set_id(record.id);
  for (const std::string& tag : record.repo_tags) out.add_repo_tags(tag);
  for (const std::string& digest : record.repo_digests) out.add_repo_digests(digest);
  out.set_size(record.size);
  // The kubelet needs the user to refuse root: a number or a name, never both; the group is not part of it.
  std::string user = record.user.substr(0, record.user.find(':'));
  if (std::optional<int64_t> uid = ParseInt64(user)) {
    out.mutable_uid()->set_value(*uid);
  } else {
    out.set_username(user);
  }
  out.set_pinned(record.pinned);
  out.mutable_spec()->set_image(record.id);
  return out;
}

bool Matches(const v1::PodSandboxFilter& filter, const pod::PodRecord& record) {
  if (!record.id.str().starts_with(filter.id())) return false;
  if (filter.has_state() && filter.state().state() != StateOf(record)) return false;
  return HasLabels(filter.label_selector(), record.spec.labels);
}

bool Matches(const v1::ContainerFilter& filter, const container::ContainerRecord& record) {
  if (!record.id.str().starts_with(filter.id())) return false;
  if (!record.pod.str().starts_with(filter.pod_sandbox_id())) return false;
  if (filter.has_state() && filter.state().state() != StateOf(record)) return false;
  return HasLabels(filter.label_selector(), record.spec.labels);
}

bool Shown(const engine::Engine& engine, const pod::PodRecord& record) {
  return engine::Listed(record) && (!engine::IsStandalone(record) || engine.Configuration().api.show_standalone);
}

bool Shown(const engine::Engine& engine, const container::ContainerRecord& record) {
  return engine::Listed(record) && (!engine::IsStandalone(record) || engine.Configuration().api.show_standalone);
}

}  // namespace davit::cri
