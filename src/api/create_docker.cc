// POST /containers/create of Docker's API: Config, HostConfig and NetworkingConfig.
#include <fmt/format.h>

#include "api/create_spec.h"
#include "api/filters.h"
#include "base/strings.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace cri = ::runtime::v1;
namespace control = ::davit::control::v1;

// Of the many fields that have no counterpart: those whose loss changes what a container may do are refused…
constexpr const char* kRefusedLists[] = {"Links",
                                         "DeviceCgroupRules",
                                         "BlkioDeviceReadBps",
                                         "BlkioDeviceWriteBps",
                                         "BlkioDeviceReadIOps",
                                         "BlkioDeviceWriteIOps",
                                         "BlkioWeightDevice"};
// …and the others are told.
constexpr const char* kWarnedNumbers[] = {"BlkioWeight", "MemoryReservation", "KernelMemory", "CpuRealtimePeriod",
                                          "CpuRealtimeRuntime"};

Status ReadCommand(const JsonReader& body, SpecBuilder& builder) {
  std::vector<std::string> entrypoint = body["Entrypoint"].Strings();
  if (entrypoint.size() == 1 && entrypoint[0].empty()) entrypoint.clear();
  if (body["Entrypoint"].present() && entrypoint.empty()) builder.options().set_clear_entrypoint(true);
  for (const std::string& word : entrypoint) builder.config().add_command(word);
  for (const std::string& word : body["Cmd"].Strings()) builder.config().add_args(word);
  RETURN_IF_ERROR(builder.Env(body["Env"].Strings()));
  builder.config().set_working_dir(body["WorkingDir"].Str());
  builder.config().set_tty(body["Tty"].Bool());
  builder.config().set_stdin(body["OpenStdin"].Bool());
  // With a terminal the keys to leave it are no end of its input, nor is the loss of a client: Docker's rule.
  builder.config().set_stdin_once(body["StdinOnce"].Bool() && !body["Tty"].Bool());
  builder.options().set_stop_signal(body["StopSignal"].Str());
  if (body["StopTimeout"].present()) builder.options().set_stop_timeout_seconds(body["StopTimeout"].Int());
  for (const auto& [key, value] : body["Labels"].StringMap()) (*builder.config().mutable_labels())[key] = value;
  builder.pod().set_hostname(body["Hostname"].Str());
  if (!body["Domainname"].Str().empty()) builder.Warn("Domainname is not supported and was left out");
  return builder.User(body["User"].Str());
}

void ReadHealth(const JsonReader& check, control::HealthCheck& to) {
  for (const std::string& word : check["Test"].Strings()) to.add_test(word);
  to.set_interval(check["Interval"].Int());
  to.set_timeout(check["Timeout"].Int());
  to.set_start_period(check["StartPeriod"].Int());
  to.set_start_interval(check["StartInterval"].Int());
  to.set_retries(static_cast<uint32_t>(std::clamp<int64_t>(check["Retries"].Int(), 0, 1'000'000)));
}

Status ReadLimits(const JsonReader& host, SpecBuilder& builder) {
  cri::LinuxContainerResources& limits = builder.resources();
  limits.set_memory_limit_in_bytes(std::max<int64_t>(0, host["Memory"].Int()));
  if (int64_t swap = host["MemorySwap"].Int(); swap > 0) limits.set_memory_swap_limit_in_bytes(swap);
  limits.set_cpu_shares(host["CpuShares"].Int());
  limits.set_cpu_period(host["CpuPeriod"].Int());
  limits.set_cpu_quota(host["CpuQuota"].Int());
  if (int64_t nano = host["NanoCpus"].Int(); nano > 0) {
    if (limits.cpu_quota() > 0 || limits.cpu_period() > 0) {
      return InvalidArgument("conflicting options: Nano CPUs and CPU quota or period cannot both be set");
    }
    limits.set_cpu_period(100000);
    limits.set_cpu_quota(nano / 10000);
  }
  limits.set_cpuset_cpus(host["CpusetCpus"].Str());
  limits.set_cpuset_mems(host["CpusetMems"].Str());
  limits.set_oom_score_adj(host["OomScoreAdj"].Int());
  if (int64_t pids = host["PidsLimit"].Int(); pids > 0) (*limits.mutable_unified())["pids.max"] = std::to_string(pids);
  for (const JsonReader& entry : host["Ulimits"].Elements()) {
    control::Ulimit* limit = builder.options().add_ulimits();
    limit->set_name(entry["Name"].Str());
    limit->set_soft(entry["Soft"].Int());
    limit->set_hard(entry["Hard"].Int());
  }
  for (const char* key : kWarnedNumbers) {
    if (host[key].Int() > 0) builder.Warn(fmt::format("{} is not supported and was left out", key));
  }
  if (host["OomKillDisable"].Bool()) builder.Warn("OomKillDisable is not supported and was left out");
  if (host["MemorySwappiness"].Int(-1) >= 0) builder.Warn("MemorySwappiness is not supported and was left out");
  return {};
}

Status ReadSecurity(const JsonReader& host, SpecBuilder& builder) {
  cri::LinuxContainerSecurityContext& security = builder.security();
  for (const std::string& name : host["CapAdd"].Strings()) security.mutable_capabilities()->add_add_capabilities(name);
  for (const std::string& name : host["CapDrop"].Strings())
    security.mutable_capabilities()->add_drop_capabilities(name);
  security.set_readonly_rootfs(host["ReadonlyRootfs"].Bool());
  if (host["Privileged"].Bool()) {
    security.set_privileged(true);
    security.clear_seccomp();
    security.mutable_seccomp()->set_profile_type(cri::SecurityProfile::Unconfined);
    builder.pod().mutable_linux()->mutable_security_context()->set_privileged(true);
  }
  for (const std::string& option : host["SecurityOpt"].Strings()) RETURN_IF_ERROR(builder.SecurityOption(option));
  RETURN_IF_ERROR(builder.Groups(host["GroupAdd"].Strings()));
  for (const auto& [key, value] : host["Sysctls"].StringMap()) {
    (*builder.pod().mutable_linux()->mutable_sysctls())[key] = value;
  }
  for (const JsonReader& entry : host["Devices"].Elements()) {
    cri::Device* device = builder.config().add_devices();
    device->set_host_path(entry["PathOnHost"].Str());
    device->set_container_path(entry["PathInContainer"].Str(device->host_path()));
    device->set_permissions(entry["CgroupPermissions"].Str("rwm"));
  }
  for (const JsonReader& entry : host["DeviceRequests"].Elements()) {
    if (entry["Driver"].Str() != "cdi")
      return Unimplemented("device requests of a driver other than cdi are not supported");
    for (const std::string& name : entry["DeviceIDs"].Strings()) builder.config().add_cdi_devices()->set_name(name);
  }
  return {};
}

Status ReadMount(const JsonReader& mount, SpecBuilder& builder) {
  std::string type = mount["Type"].Str("bind");
  std::string target = mount["Target"].Str();
  if (type == "tmpfs") {
    std::string options;
    if (int64_t size = mount["TmpfsOptions"]["SizeBytes"].Int(); size > 0) options = fmt::format("size={}", size);
    if (int64_t mode = mount["TmpfsOptions"]["Mode"].Int(); mode > 0) {
      options += fmt::format("{}mode={:o}", options.empty() ? "" : ",", mode);
    }
    return builder.Tmpfs(target, options);
  }
  std::vector<std::string> words;
  if (mount["ReadOnly"].Bool()) words.emplace_back("ro");
  if (std::string propagation = mount["BindOptions"]["Propagation"].Str(); !propagation.empty())
    words.push_back(propagation);
  if (mount["VolumeOptions"]["NoCopy"].Bool()) words.emplace_back("nocopy");
  JsonReader driver = mount["VolumeOptions"]["DriverConfig"];
  auto labels = mount["VolumeOptions"]["Labels"].StringMap();
  if (type == "volume" && (!labels.empty() || !driver["Options"].StringMap().empty())) {
    NewVolume made;
    made.request.set_name(mount["Source"].Str());
    made.request.set_anonymous(made.request.name().empty());
    made.request.set_driver(driver["Name"].Str("local"));
    for (const auto& [key, value] : labels) (*made.request.mutable_labels())[key] = value;
    for (const auto& [key, value] : driver["Options"].StringMap()) (*made.request.mutable_options())[key] = value;
    made.mount.set_container_path(target);
    made.mount.set_readonly(mount["ReadOnly"].Bool());
    made.mount.set_no_copy(mount["VolumeOptions"]["NoCopy"].Bool());
    made.mount.set_sub_path(mount["VolumeOptions"]["Subpath"].Str());
    builder.spec.new_volumes.push_back(std::move(made));
    return {};
  }
  RETURN_IF_ERROR(builder.Mount(type, mount["Source"].Str(), target, words));
  if (type == "volume" && builder.options().volumes_size() > 0) {
    builder.options()
        .mutable_volumes(builder.options().volumes_size() - 1)
        ->set_sub_path(mount["VolumeOptions"]["Subpath"].Str());
  }
  return {};
}

Status ReadFiles(const JsonReader& body, const JsonReader& host, SpecBuilder& builder) {
  for (const std::string& bind : host["Binds"].Strings()) RETURN_IF_ERROR(builder.Bind(bind));
  for (const JsonReader& mount : host["Mounts"].Elements()) RETURN_IF_ERROR(ReadMount(mount, builder));
  for (const auto& [target, options] : host["Tmpfs"].StringMap()) RETURN_IF_ERROR(builder.Tmpfs(target, options));
  auto taken = [&](const std::string& target) {
    for (const control::NamedVolume& volume : builder.options().volumes()) {
      if (volume.container_path() == target) return true;
    }
    for (const cri::Mount& mount : builder.config().mounts()) {
      if (mount.container_path() == target) return true;
    }
    return false;
  };
  for (const auto& [target, nothing] : body["Volumes"].Members()) {
    if (!taken(target)) RETURN_IF_ERROR(builder.Mount("volume", "", target, {}));
  }
  builder.spec.volumes_from = host["VolumesFrom"].Strings();
  if (std::string driver = host["VolumeDriver"].Str(); !driver.empty() && driver != "local") {
    return Unimplemented(fmt::format("volume driver \"{}\" is not supported", Printable(driver)));
  }
  if (int64_t shm = host["ShmSize"].Int(); shm > 0) {
    (*builder.pod().mutable_annotations())["io.kubernetes.cri-o.ShmSize"] = std::to_string(shm);
  }
  return {};
}

Status ReadPorts(const JsonReader& body, const JsonReader& host, SpecBuilder& builder) {
  auto split = [](const std::string& key) {
    size_t slash = key.find('/');
    return std::pair(key.substr(0, slash), slash == std::string::npos ? std::string("tcp") : key.substr(slash + 1));
  };
  for (const auto& [key, bindings] : host["PortBindings"].Members()) {
    auto [number, protocol] = split(key);
    auto container_port = ParseInt64(number);
    if (!container_port) return InvalidArgument(fmt::format("port \"{}\" is not number/protocol", Printable(key)));
    std::vector<JsonReader> list = bindings.Elements();
    if (list.empty()) RETURN_IF_ERROR(builder.Port("", 0, *container_port, protocol));
    for (const JsonReader& binding : list) {
      std::string text = binding["HostPort"].Str();
      auto host_port = text.empty() ? std::optional<int64_t>(0) : ParseInt64(text.substr(0, text.find('-')));
      if (!host_port) return InvalidArgument(fmt::format("host port \"{}\" is no number", Printable(text)));
      RETURN_IF_ERROR(builder.Port(binding["HostIp"].Str(), *host_port, *container_port, protocol));
    }
  }
  builder.spec.publish_all = host["PublishAllPorts"].Bool();
  for (const auto& [key, nothing] : body["ExposedPorts"].Members()) builder.spec.exposed.push_back(key);
  return {};
}

Status ReadNetworks(const JsonReader& body, const JsonReader& host, SpecBuilder& builder) {
  std::string mode = host["NetworkMode"].Str();
  RETURN_IF_ERROR(builder.Network(mode));
  std::string mac = body["MacAddress"].Str();
  for (const auto& [name, endpoint] : body["NetworkingConfig"]["EndpointsConfig"].Members()) {
    if (name == "host" || name == "none" || mode == "host" || mode == "none" || mode.starts_with("container:"))
      continue;
    std::string network = name == "default" || name == "bridge" || name == "podman" ? "" : name;
    control::NetworkEndpointConfig* to = nullptr;
    for (control::NetworkEndpointConfig& known : *builder.pod_options().mutable_networks()) {
      if (known.network() == network) to = &known;
    }
    bool says_something = !endpoint["Aliases"].Strings().empty() || endpoint["IPAMConfig"].present() ||
                          !endpoint["MacAddress"].Str().empty();
    if (to == nullptr && network.empty() && !says_something) continue;
    if (to == nullptr) to = builder.pod_options().add_networks();
    to->set_network(network);
    for (const std::string& alias : endpoint["Aliases"].Strings()) to->add_aliases(alias);
    to->set_ipv4_address(endpoint["IPAMConfig"]["IPv4Address"].Str());
    to->set_ipv6_address(endpoint["IPAMConfig"]["IPv6Address"].Str());
    to->set_mac_address(endpoint["MacAddress"].Str());
  }
  if (!mac.empty()) {
    if (builder.pod_options().networks_size() == 0) builder.pod_options().add_networks();
    if (builder.pod_options().networks(0).mac_address().empty()) {
      builder.pod_options().mutable_networks(0)->set_mac_address(mac);
    }
  }
  cri::DNSConfig dns;
  for (const std::string& server : host["Dns"].Strings()) dns.add_servers(server);
  for (const std::string& domain : host["DnsSearch"].Strings()) dns.add_searches(domain);
  for (const std::string& option : host["DnsOptions"].Strings()) dns.add_options(option);
  if (dns.ByteSizeLong() > 0) *builder.pod().mutable_dns_config() = dns;
  for (const std::string& line : host["ExtraHosts"].Strings()) builder.pod_options().add_extra_hosts(line);
  return builder.Namespaces(host["PidMode"].Str(), host["IpcMode"].Str(), host["UTSMode"].Str(),
                            host["UsernsMode"].Str(), host["CgroupnsMode"].Str());
}

}  // namespace

Result<CreateSpec> DockerCreate(const JsonReader& body, const std::string& name) {
  SpecBuilder builder;
  JsonReader host = body["HostConfig"];
  builder.Defaults();
  RETURN_IF_ERROR(builder.Name(name));
  builder.spec.image = body["Image"].Str();
  RETURN_IF_ERROR(ReadCommand(body, builder));
  if (body["Healthcheck"].is_object()) ReadHealth(body["Healthcheck"], *builder.options().mutable_health());
  RETURN_IF_ERROR(ReadLimits(host, builder));
  RETURN_IF_ERROR(ReadSecurity(host, builder));
  RETURN_IF_ERROR(ReadFiles(body, host, builder));
  RETURN_IF_ERROR(ReadPorts(body, host, builder));
  RETURN_IF_ERROR(ReadNetworks(body, host, builder));
  for (const char* key : kRefusedLists) {
    if (!host[key].Elements().empty()) return Unimplemented(fmt::format("HostConfig.{} is not supported", key));
  }
  control::RestartPolicy& restart = *builder.options().mutable_restart();
  restart.set_name(host["RestartPolicy"]["Name"].Str());
  restart.set_maximum_retries(
      static_cast<uint32_t>(std::clamp<int64_t>(host["RestartPolicy"]["MaximumRetryCount"].Int(), 0, 1'000'000)));
  builder.options().set_auto_remove(host["AutoRemove"].Bool());
  if (builder.options().auto_remove() && !restart.name().empty() && restart.name() != "no") {
    return InvalidArgument("can't create 'AutoRemove' container with restart policy");
  }
  builder.options().set_init(host["Init"].Bool());
  if (std::string parent = host["CgroupParent"].Str(); !parent.empty()) {
    builder.pod().mutable_linux()->set_cgroup_parent(parent);
  }
  if (std::string runtime = host["Runtime"].Str(); !runtime.empty() && runtime != "default") {
    builder.spec.request.set_runtime_handler(runtime);
  }
  RETURN_IF_ERROR(builder.LogOptions(host["LogConfig"]["Config"].StringMap()));
  std::string log = host["LogConfig"]["Type"].Str();
  if (!log.empty() && log != "json-file" && log != "k8s-file" && log != "local" && log != "journald") {
    builder.Warn(fmt::format("log driver \"{}\" is not supported: the log is kept as with json-file", Printable(log)));
  }
  return builder.spec;
}

}  // namespace davit::api
