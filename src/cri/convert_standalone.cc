#include "cri/convert_standalone.h"

#include "base/strings.h"
#include "container/runtime_spec.h"
#include "cri/network_service.h"

namespace davit::cri {
namespace {

using container::Phase;
namespace control = ::davit::control::v1;

constexpr size_t kMaxClientData = 1 << 20;

control::StandaloneState StateOf(const container::ContainerRecord& record) {
  switch (record.phase) {
    case Phase::kDefined:
    case Phase::kCreating:
    case Phase::kCreated:
      if (record.standalone.restarting) return control::STATE_RESTARTING;
      return record.finished_at > 0 ? control::STATE_EXITED : control::STATE_CREATED;
    case Phase::kRunning:
      return record.standalone.paused ? control::STATE_PAUSED : control::STATE_RUNNING;
    case Phase::kExited:
      return record.standalone.restarting ? control::STATE_RESTARTING : control::STATE_EXITED;
    case Phase::kRemoving:
      return control::STATE_REMOVING;
  }
  return control::STATE_DEAD;
}

template <class Map>
void Copy(const Map& in, ::google::protobuf::Map<std::string, std::string>* out) {
  for (const auto& [key, value] : in) (*out)[Printable(key, 4096)] = value;
}

container::HealthCheck ToHealthCheck(const control::HealthCheck& in) {
  container::HealthCheck out;
  out.test = {in.test().begin(), in.test().end()};
  out.interval = in.interval();
  out.timeout = in.timeout();
  out.start_period = in.start_period();
  out.start_interval = in.start_interval();
  out.retries = in.retries();
  out.on_failure = in.on_failure();
  return out;
}

Result<container::StandaloneSpec> ToStandaloneSpec(const control::ContainerOptions& in) {
  container::StandaloneSpec out;
  out.restart = ToRestartPolicy(in.restart());
  const auto& test = in.health().test();
  if (!test.empty() && test[0] != "NONE") out.health = ToHealthCheck(in.health());
  out.auto_remove = in.auto_remove();
  if (in.has_stop_timeout_seconds()) out.stop_timeout = in.stop_timeout_seconds();
  for (const control::NamedVolume& volume : in.volumes()) {
    out.volumes.push_back(
        {volume.name(), volume.container_path(), volume.readonly(), volume.no_copy(), volume.sub_path()});
  }
  out.clear_entrypoint = in.clear_entrypoint();
  out.umask = in.umask();
  for (const control::Ulimit& limit : in.ulimits()) out.ulimits.push_back({limit.name(), limit.soft(), limit.hard()});
  out.client_data = in.client_data();
  return out;
}

// Limits of its log, which are davitd's and not the program's: they go from the annotations into what is standalone.
Status TakeLogLimits(container::ContainerSpec& spec) {
  auto take = [&](const char* key, int64_t least, int64_t most, auto& to) -> Status {
    auto found = spec.annotations.find(key);
    if (found == spec.annotations.end()) return {};
    const auto number = ParseInt64(found->second);
    if (!number || *number < least || *number > most) {
      return InvalidArgument(std::string(key) + ": \"" + Printable(found->second, 32) + "\" is out of range");
    }
    to = static_cast<std::remove_reference_t<decltype(to)>>(*number);
    spec.annotations.erase(found);
    return {};
  };
  RETURN_IF_ERROR(take("io.davit.log.max-bytes", -1, int64_t{1} << 50, spec.standalone->log_max_bytes));
  return take("io.davit.log.max-files", 1, 1000, spec.standalone->log_max_files);
}

void Fill(const container::StandaloneSpec& in, bool full, control::ContainerOptions* out) {
  out->mutable_restart()->set_name(in.restart.name);
  out->mutable_restart()->set_maximum_retries(in.restart.maximum_retries);
  if (in.health) {
    control::HealthCheck* health = out->mutable_health();
    for (const std::string& word : in.health->test) health->add_test(word);
    health->set_interval(in.health->interval);
    health->set_timeout(in.health->timeout);
    health->set_start_period(in.health->start_period);
    health->set_start_interval(in.health->start_interval);
    health->set_retries(in.health->retries);
    health->set_on_failure(in.health->on_failure);
  }
  out->set_auto_remove(in.auto_remove);
  if (in.stop_timeout) out->set_stop_timeout_seconds(*in.stop_timeout);
  if (full) out->set_client_data(in.client_data);
  out->set_umask(in.umask);
  for (const container::Ulimit& limit : in.ulimits) {
    control::Ulimit* item = out->add_ulimits();
    item->set_name(limit.name);
    item->set_soft(limit.soft);
    item->set_hard(limit.hard);
  }
}

void Fill(const container::ContainerSpec& in, bool full, v1::ContainerConfig* out) {
  out->mutable_metadata()->set_name(in.name);
  out->mutable_metadata()->set_attempt(in.attempt);
  out->mutable_image()->set_image(in.image.image);
  out->mutable_image()->set_user_specified_image(in.image.user_specified_image);
  for (const std::string& word : in.command) out->add_command(word);
  for (const std::string& word : in.args) out->add_args(word);
  Copy(in.labels, out->mutable_labels());
  Copy(in.annotations, out->mutable_annotations());
  out->set_tty(in.tty);
  out->set_stdin(in.open_stdin);
  out->set_stdin_once(in.stdin_once);
  for (const container::Mount& mount : in.mounts) {
    if (!mount.volume.empty()) continue;  // told as volumes
    v1::Mount* item = out->add_mounts();
    item->set_container_path(mount.container_path);
    item->set_host_path(mount.host_path);
    item->set_readonly(mount.readonly);
    item->mutable_image()->set_image(mount.image);
  }
  if (!full) return;
  out->set_working_dir(in.working_dir);
  for (const container::EnvironmentVariable& variable : in.envs) {
    v1::KeyValue* item = out->add_envs();
    item->set_key(variable.key);
    item->set_value(variable.value);
  }
  v1::LinuxContainerResources* resources = out->mutable_linux()->mutable_resources();
  resources->set_cpu_period(in.resources.cpu_period);
  resources->set_cpu_quota(in.resources.cpu_quota);
  resources->set_cpu_shares(in.resources.cpu_shares);
  resources->set_memory_limit_in_bytes(in.resources.memory_limit_bytes);
  resources->set_memory_swap_limit_in_bytes(in.resources.memory_swap_limit_bytes);
  resources->set_cpuset_cpus(in.resources.cpuset_cpus);
  resources->set_cpuset_mems(in.resources.cpuset_mems);
}

void Fill(const pod::PodSpec& in, v1::PodSandboxConfig* out) {
  out->mutable_metadata()->set_name(in.name);
  out->mutable_metadata()->set_uid(in.uid);
  out->mutable_metadata()->set_namespace_(in.namespace_name);
  out->mutable_metadata()->set_attempt(in.attempt);
  out->set_hostname(in.hostname);
  out->set_log_directory(in.log_directory);
  Copy(in.labels, out->mutable_labels());
  Copy(in.annotations, out->mutable_annotations());
  for (const pod::PortMapping& port : in.port_mappings) {
    v1::PortMapping* item = out->add_port_mappings();
    item->set_protocol(static_cast<v1::Protocol>(port.protocol));
    item->set_container_port(port.container_port);
    item->set_host_port(port.host_port);
    item->set_host_ip(port.host_ip);
  }
  auto* names = out->mutable_linux()->mutable_security_context()->mutable_namespace_options();
  names->set_network(static_cast<v1::NamespaceMode>(in.network));
  names->set_pid(static_cast<v1::NamespaceMode>(in.pid));
  names->set_ipc(static_cast<v1::NamespaceMode>(in.ipc));
}

}  // namespace

container::RestartPolicy ToRestartPolicy(const control::RestartPolicy& in) {
  return {in.name().empty() ? "no" : in.name(), in.maximum_retries()};
}

Result<pod::PodSpec> ToStandalonePodSpec(const v1::PodSandboxConfig& config, const control::PodOptions& options,
                                         const std::string& runtime_handler) {
  if (!config.log_directory().empty()) return InvalidArgument("log_directory: standalone pods have one of davitd's");
  v1::PodSandboxConfig named = config;
  // What CRI wants to be there and nobody reads here.
  if (named.metadata().uid().empty()) named.mutable_metadata()->set_uid("standalone");
  if (named.metadata().namespace_().empty()) named.mutable_metadata()->set_namespace_("standalone");
  if (named.metadata().name().empty()) named.mutable_metadata()->set_name("standalone");
  ASSIGN_OR_RETURN(pod::PodSpec spec, ToPodSpec(named, runtime_handler));
  if (config.metadata().uid().empty()) spec.uid.clear();  // the pod's own id
  spec.standalone = true;
  spec.no_network = options.no_network();
  spec.random_ports = options.random_ports();
  ASSIGN_OR_RETURN(spec.networks, ToEndpoints(options));
  spec.extra_hosts = {options.extra_hosts().begin(), options.extra_hosts().end()};
  spec.client_data = options.client_data();
  if (spec.client_data.size() > kMaxClientData) return InvalidArgument("client_data exceeds 1 MiB");
  return spec;
}

Result<engine::ContainerDefinition> ToDefinition(const control::CreateContainerRequest& request) {
  engine::ContainerDefinition out;
  out.pod = request.pod();
  v1::ContainerConfig config = request.config();
  if (!config.log_path().empty()) return InvalidArgument("config.log_path: standalone containers have one of davitd's");
  config.mutable_metadata()->set_name(request.options().name());
  ASSIGN_OR_RETURN_WITH(out.spec, ToContainerSpec(config), "config");
  ASSIGN_OR_RETURN(out.spec.standalone, ToStandaloneSpec(request.options()));
  RETURN_IF_ERROR(TakeLogLimits(out.spec));
  if (!request.options().stop_signal().empty()) {
    ASSIGN_OR_RETURN(out.spec.stop_signal, container::ParseSignal(request.options().stop_signal()));
  }
  if (!out.pod.empty()) return out;
  ASSIGN_OR_RETURN_WITH(out.own_pod,
                        ToStandalonePodSpec(request.pod_config(), request.pod_options(), request.runtime_handler()),
                        "pod_config");
  if (request.options().init()) {
    // The init of a PID namespace that the pod shares is Davit's own; it reaps whatever is left to it.
    out.own_pod->pid = pod::NamespaceMode::kPod;
    out.spec.security.namespaces.pid = container::NamespaceMode::kPod;
  }
  return out;
}

control::Pod ToPod(const pod::PodRecord& record) {
  control::Pod out;
  out.set_id(record.id.str());
  out.set_name(record.spec.name);
  out.set_standalone(record.spec.standalone);
  out.set_implicit(record.spec.implicit);
  out.set_ready(record.phase == pod::Phase::kReady);
  out.set_started_once(record.started_at > 0 || !record.spec.standalone);
  out.set_created_at(record.created_at);
  Fill(record.spec, out.mutable_config());
  control::PodOptions* options = out.mutable_options();
  options->set_no_network(record.spec.no_network);
  options->set_random_ports(record.spec.random_ports);
  options->set_client_data(record.spec.client_data);
  for (const std::string& host : record.spec.extra_hosts) options->add_extra_hosts(host);
  AddNetworks(record, out);
  out.set_cgroup(record.cgroup);
  out.set_runtime_handler(record.runtime_handler);
  out.set_hostname(record.hostname);
  for (const std::string& ip : record.ips) out.add_ips(ip);
  return out;
}

control::Container ToStandalone(const container::ContainerRecord& record, bool full) {
  control::Container out;
  out.set_id(record.id.str());
  out.set_name(record.spec.name);
  out.set_pod_id(record.pod.str());
  out.set_standalone(record.spec.standalone.has_value());
  out.set_state(StateOf(record));
  out.set_created_at(record.created_at);
  out.set_started_at(record.started_at);
  out.set_finished_at(record.finished_at);
  out.set_exit_code(record.exit_code);
  out.set_oom_killed(record.reason == "OOMKilled");
  out.set_error(Printable(record.spec.standalone ? record.standalone.error : record.message, 4096));
  out.set_pid(record.phase == Phase::kRunning ? record.pid : 0);
  out.set_restart_count(record.standalone.restarts);
  const container::ImageSpec& image = record.spec.image;
  out.set_image(image.user_specified_image.empty() ? image.image : image.user_specified_image);
  out.set_image_id(record.image_id);
  out.set_image_ref(record.image_ref);
  Fill(record.spec, full, out.mutable_config());
  if (record.spec.standalone) Fill(*record.spec.standalone, full, out.mutable_options());
  out.mutable_options()->set_name(record.spec.name);
  out.set_log_path(record.log_path);
  out.set_runtime_handler(record.runtime_handler);
  out.set_cgroup(record.cgroup);
  out.set_user_id(static_cast<uint32_t>(record.uid));
  if (!record.spec.standalone) return out;
  for (const container::NamedVolume& volume : record.spec.standalone->volumes) {
    control::NamedVolume* item = out.add_volumes();
    item->set_name(volume.name);
    item->set_container_path(volume.container_path);
    item->set_readonly(volume.readonly);
    item->set_sub_path(volume.sub_path);
  }
  return out;
}

control::Event ToEvent(const engine::Activity& activity) {
  control::Event out;
  out.set_type(activity.type);
  out.set_action(activity.action);
  out.set_id(activity.id);
  out.set_time(activity.time);
  for (const auto& [key, value] : activity.attributes) (*out.mutable_attributes())[key] = Printable(value, 4096);
  out.set_standalone(activity.standalone);
  return out;
}

}  // namespace davit::cri
