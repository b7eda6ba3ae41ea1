// One container with all that there is to say: of Docker's API and of Podman's.
//
// What the client asked for when it made the container is said again in its own words (OriginalRequest); what the
// engine decided stands over it.
#include <fmt/format.h>

#include "api/json_out.h"
#include "base/strings.h"

namespace davit::api {
namespace {

namespace json = boost::json;

const json::value kNull;

const json::value& Member(const json::value& value, std::string_view key) {
  if (!value.is_object()) return kNull;
  const json::value* found = value.get_object().if_contains(View(key));
  return found == nullptr ? kNull : *found;
}

std::vector<std::string> Words(const json::value& value) {
  std::vector<std::string> out;
  if (value.is_string()) out.emplace_back(value.get_string().c_str());
  if (!value.is_array()) return out;
  for (const json::value& word : value.get_array()) {
    if (word.is_string()) out.emplace_back(word.get_string().data(), word.get_string().size());
  }
  return out;
}

std::string Word(const json::value& value) {
  return value.is_string() ? std::string(value.get_string().data(), value.get_string().size()) : std::string();
}

json::value NullIfEmpty(json::array array) {
  if (array.empty()) return nullptr;
  return array;
}

// What the container was made from, whoever made it.
struct Facts {
  const Entry& entry;
  json::value docker;  // the requests; null unless it was made by that API
  json::value libpod;
  json::value image;  // "config" of the image's configuration
  std::vector<std::string> env;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> line;  // what runs
};

Facts Gather(const Entry& entry, const InspectContext& context) {
  Facts facts{entry,
              OriginalRequest(entry.container.options().client_data(), "docker"),
              OriginalRequest(entry.container.options().client_data(), "libpod"),
              Member(context.image_config, "config"),
              {},
              {},
              {},
              {}};
  const cri::ContainerConfig& config = entry.container.config();
  std::vector<std::pair<std::string, std::string>> pairs;
  auto set = [&](const std::string& key, const std::string& value) {
    for (auto& [name, old] : pairs) {
      if (name == key) {
        old = value;
        return;
      }
    }
    pairs.emplace_back(key, value);
  };
  for (const std::string& pair : Words(Member(facts.image, "Env"))) {
    size_t equals = std::min(pair.find('='), pair.size());
    set(pair.substr(0, equals), equals < pair.size() ? pair.substr(equals + 1) : "");
  }
  for (const cri::KeyValue& env : config.envs()) set(env.key(), env.value());
  for (const auto& [key, value] : pairs) facts.env.push_back(key + "=" + value);

  std::vector<std::string> command(config.command().begin(), config.command().end());
  std::vector<std::string> args(config.args().begin(), config.args().end());
  bool own = !command.empty() || entry.container.options().clear_entrypoint();
  facts.entrypoint = own ? command : Words(Member(facts.image, "Entrypoint"));
  facts.cmd = !args.empty() || own ? args : Words(Member(facts.image, "Cmd"));
  facts.line.assign(entry.container.command_line().begin(), entry.container.command_line().end());
  if (facts.line.empty()) {
    facts.line = facts.entrypoint;
    facts.line.insert(facts.line.end(), facts.cmd.begin(), facts.cmd.end());
  }
  if (facts.entrypoint.empty() && facts.cmd.empty()) facts.cmd = facts.line;
  return facts;
}

json::object State(const control::Container& container, bool libpod) {
  bool running = container.state() == control::STATE_RUNNING || container.state() == control::STATE_PAUSED ||
                 container.state() == control::STATE_RESTARTING;
  json::object state = {{"Status", View(StateName(container.state()))},
                        {"Running", running},
                        {"Paused", container.state() == control::STATE_PAUSED},
                        {"Restarting", container.state() == control::STATE_RESTARTING},
                        {"OOMKilled", container.oom_killed()},
                        {"Dead", container.state() == control::STATE_DEAD},
                        {"Pid", running ? container.pid() : 0},
                        {"ExitCode", container.exit_code()},
                        {"Error", container.error()},
                        {"StartedAt", GoTime(container.started_at())},
                        {"FinishedAt", GoTime(container.finished_at())}};
  const control::Health& health = container.health();
  // Its presence is what tells compose that there is a check.
  if (!health.status().empty() || libpod) {
    json::array log;
    for (const control::Health::Probe& probe : health.log()) {
      log.push_back({{"Start", GoTime(probe.start())},
                     {"End", GoTime(probe.end())},
                     {"ExitCode", probe.exit_code()},
                     {"Output", probe.output()}});
    }
    state["Health"] = {
        {"Status", health.status()}, {"FailingStreak", health.failing_streak()}, {"Log", NullIfEmpty(std::move(log))}};
  }
  if (libpod) {
    state["OciVersion"] = "1.0.2";
    state["ConmonPid"] = 0;
    state["CgroupPath"] = container.cgroup();
    state["CheckpointedAt"] = kGoZeroTime;
    state["RestoredAt"] = kGoZeroTime;
  }
  return state;
}

json::array Mounts(const control::Container& container, bool libpod) {
  json::array out;
  auto add = [&](std::string_view type, const std::string& name, const std::string& source, const std::string& target,
                 bool readonly, bool shared) {
    json::object mount = {
        {"Type", View(type)},    {"Source", source},
        {"Destination", target}, {"Mode", ""},
        {"RW", !readonly},       {"Propagation", type == "volume" ? "" : shared ? "rshared" : "rprivate"}};
    if (type == "volume") {
      mount["Name"] = name;
      mount["Driver"] = "local";
    }
    if (libpod) mount["Options"] = json::array{"rbind"};
    out.push_back(std::move(mount));
  };
  for (const control::NamedVolume& volume : container.volumes()) {
    add("volume", volume.name(), "", volume.container_path(), volume.readonly(), false);
  }
  for (const cri::Mount& mount : container.config().mounts()) {
    add("bind", "", mount.host_path(), mount.container_path(), mount.readonly(),
        mount.propagation() == cri::PROPAGATION_BIDIRECTIONAL);
  }
  return out;
}

json::object NetworkSettings(const Entry& entry) {
  json::object networks = NetworkEndpoints(entry);
  json::object out = {{"Bridge", ""},
                      {"SandboxID", entry.pod.id()},
                      {"HairpinMode", false},
                      {"LinkLocalIPv6Address", ""},
                      {"LinkLocalIPv6PrefixLen", 0},
                      {"Ports", Up(entry.container) ? PortBindings(entry.pod) : json::object()},
                      {"SandboxKey", entry.pod.netns_path()},
                      {"EndpointID", ""},
                      {"Gateway", ""},
                      {"GlobalIPv6Address", ""},
                      {"GlobalIPv6PrefixLen", 0},
                      {"IPAddress", ""},
                      {"IPPrefixLen", 0},
                      {"IPv6Gateway", ""},
                      {"MacAddress", ""}};
  if (!networks.empty()) {
    const json::value& first = networks.begin()->value();
    for (const char* key : {"EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "MacAddress", "GlobalIPv6Address",
                            "GlobalIPv6PrefixLen"}) {
      if (const json::value& value = Member(first, key); !value.is_null()) out[key] = value;
    }
  }
  // Ports that are exposed and not published have no binding.
  const json::value asked = OriginalRequest(entry.container.options().client_data(), "docker");
  if (const json::value& exposed = Member(asked, "ExposedPorts"); exposed.is_object()) {
    auto& ports = out["Ports"].get_object();
    for (const auto& port : exposed.get_object()) {
      if (!ports.contains(port.key())) ports[port.key()] = nullptr;
    }
  }
  out["Networks"] = std::move(networks);
  return out;
}

json::value HealthConfig(const control::HealthCheck& check) {
  if (check.test_size() == 0) return nullptr;
  return {{"Test", StringArray(check.test())},
          {"Interval", check.interval()},
          {"Timeout", check.timeout()},
          {"StartPeriod", check.start_period()},
          {"StartInterval", check.start_interval()},
          {"Retries", check.retries()}};
}

json::object Config(const Facts& facts) {
  const control::Container& container = facts.entry.container;
  const cri::ContainerConfig& config = container.config();
  json::object out = {{"Hostname", ""},       {"Domainname", ""},        {"User", ""},
                      {"AttachStdin", false}, {"AttachStdout", false},   {"AttachStderr", false},
                      {"Tty", false},         {"OpenStdin", false},      {"StdinOnce", false},
                      {"Env", nullptr},       {"Cmd", nullptr},          {"Image", ""},
                      {"Volumes", nullptr},   {"WorkingDir", ""},        {"Entrypoint", nullptr},
                      {"OnBuild", nullptr},   {"Labels", json::object()}};
  if (facts.docker.is_object()) {
    for (const auto& member : facts.docker.get_object()) {
      if (member.key() != "HostConfig" && member.key() != "NetworkingConfig") out[member.key()] = member.value();
    }
  }
  auto if_empty = [&](const char* key, const std::string& value) {
    if (Word(out[key]).empty()) out[key] = value;
  };
  if_empty("Hostname", facts.entry.pod.hostname().empty() ? container.id().substr(0, 12) : facts.entry.pod.hostname());
  if_empty("User", Word(Member(facts.image, "User")));
  if_empty("WorkingDir", config.working_dir().empty() ? Word(Member(facts.image, "WorkingDir")) : config.working_dir());
  if_empty("StopSignal", Word(Member(facts.image, "StopSignal")));
  if (Word(out["StopSignal"]).empty()) out.erase("StopSignal");
  out["Image"] = container.image();
  out["Tty"] = config.tty();
  out["OpenStdin"] = config.stdin();
  if (!facts.docker.is_object()) out["StdinOnce"] = config.stdin_once();
  out["Env"] = StringArray(facts.env);
  out["Cmd"] = NullIfEmpty(StringArray(facts.cmd));
  out["Entrypoint"] = NullIfEmpty(StringArray(facts.entrypoint));
  out["Labels"] = StringObject(config.labels());
  if (Member(out, "ExposedPorts").is_null() && Member(facts.image, "ExposedPorts").is_object()) {
    out["ExposedPorts"] = Member(facts.image, "ExposedPorts");
  }
  if (Member(out, "Healthcheck").is_null()) {
    json::value health = HealthConfig(container.options().health());
    if (!health.is_null()) out["Healthcheck"] = std::move(health);
  }
  if (out["Healthcheck"].is_null()) out.erase("Healthcheck");
  return out;
}

json::object RestartPolicy(const control::Container& container) {
  const control::RestartPolicy& restart = container.options().restart();
  return {{"Name", restart.name().empty() ? std::string("no") : restart.name()},
          {"MaximumRetryCount", restart.maximum_retries()}};
}

std::string NetworkMode(const control::Pod& pod) {
  if (pod.config().linux().security_context().namespace_options().network() == cri::NODE) return "host";
  if (pod.options().no_network()) return "none";
  if (pod.networks_size() > 0) return pod.networks(0).network();
  return pod.standalone() ? "default" : "kubernetes";
}

json::array BindsOf(const control::Container& container) {
  json::array binds;
  for (const control::NamedVolume& volume : container.volumes()) {
    binds.emplace_back(volume.name() + ":" + volume.container_path() + (volume.readonly() ? ":ro" : ""));
  }
  for (const cri::Mount& mount : container.config().mounts()) {
    binds.emplace_back(mount.host_path() + ":" + mount.container_path() + (mount.readonly() ? ":ro" : ""));
  }
  return binds;
}

// From what the engine has; what the client wrote comes over it.
json::object HostConfig(const Facts& facts) {
  const control::Container& container = facts.entry.container;
  const cri::LinuxContainerConfig& linux_part = container.config().linux();
  const cri::LinuxContainerResources& resources = linux_part.resources();
  const cri::LinuxContainerSecurityContext& security = linux_part.security_context();
  json::object bindings;
  for (const cri::PortMapping& port : facts.entry.pod.config().port_mappings()) {
    json::value& list = bindings[PortKey(port)];
    if (!list.is_array()) list.emplace_array();
    list.get_array().push_back(
        {{"HostIp", port.host_ip()},
         {"HostPort", port.host_port() == 0 ? std::string() : std::to_string(port.host_port())}});
  }
  json::object out = {{"Binds", NullIfEmpty(BindsOf(container))},
                      {"ContainerIDFile", ""},
                      {"LogConfig", {{"Type", "json-file"}, {"Config", json::object()}}},
                      {"NetworkMode", NetworkMode(facts.entry.pod)},
                      {"PortBindings", std::move(bindings)},
                      {"AutoRemove", container.options().auto_remove()},
                      {"VolumeDriver", ""},
                      {"VolumesFrom", nullptr},
                      {"CapAdd", NullIfEmpty(StringArray(security.capabilities().add_capabilities()))},
                      {"CapDrop", NullIfEmpty(StringArray(security.capabilities().drop_capabilities()))},
                      {"Dns", StringArray(facts.entry.pod.config().dns_config().servers())},
                      {"DnsOptions", StringArray(facts.entry.pod.config().dns_config().options())},
                      {"DnsSearch", StringArray(facts.entry.pod.config().dns_config().searches())},
                      {"ExtraHosts", NullIfEmpty(StringArray(facts.entry.pod.options().extra_hosts()))},
                      {"GroupAdd", nullptr},
                      {"IpcMode", "private"},
                      {"Cgroup", ""},
                      {"Links", nullptr},
                      {"OomScoreAdj", resources.oom_score_adj()},
                      {"PidMode", ""},
                      {"Privileged", security.privileged()},
                      {"PublishAllPorts", false},
                      {"ReadonlyRootfs", security.readonly_rootfs()},
                      {"SecurityOpt", nullptr},
                      {"UTSMode", ""},
                      {"UsernsMode", ""},
                      {"ShmSize", 67108864},
                      {"Runtime", container.runtime_handler()},
                      {"ConsoleSize", json::array{0, 0}},
                      {"Isolation", ""},
                      {"CpuShares", resources.cpu_shares()},
                      {"Memory", resources.memory_limit_in_bytes()},
                      {"NanoCpus", 0},
                      {"CgroupParent", ""},
                      {"BlkioWeight", 0},
                      {"CpuPeriod", resources.cpu_period()},
                      {"CpuQuota", resources.cpu_quota()},
                      {"CpusetCpus", resources.cpuset_cpus()},
                      {"CpusetMems", resources.cpuset_mems()},
                      {"Devices", json::array()},
                      {"MemoryReservation", 0},
                      {"MemorySwap", resources.memory_swap_limit_in_bytes()},
                      {"OomKillDisable", false},
                      {"PidsLimit", 0},
                      {"Ulimits", json::array()},
                      {"MaskedPaths", nullptr},
                      {"ReadonlyPaths", nullptr}};
  const json::value& asked = Member(facts.docker, "HostConfig");
  if (asked.is_object()) {
    for (const auto& member : asked.get_object()) {
      if (member.value().is_null()) continue;
      // What an update may have changed since is the engine's.
      bool ours = member.key() == "Memory" || member.key() == "MemorySwap" || member.key() == "CpuShares" ||
                  member.key() == "CpuQuota" || member.key() == "CpuPeriod" || member.key() == "CpusetCpus" ||
                  member.key() == "CpusetMems";
      if (!ours) out[member.key()] = member.value();
    }
  }
  out["RestartPolicy"] = RestartPolicy(container);
  if (Word(Member(Member(out, "LogConfig"), "Type")).empty()) {
    out["LogConfig"] = {{"Type", "json-file"}, {"Config", json::object()}};
  }
  return out;
}

json::object GraphDriver(const control::Container& container) {
  return {{"Name", "overlay2"}, {"Data", {{"UpperDir", container.writable_directory()}}}};
}

}  // namespace

json::object ContainerInspect(const Entry& entry, const InspectContext& context) {
  Facts facts = Gather(entry, context);
  const control::Container& container = entry.container;
  std::vector<std::string> args = facts.line;
  std::string path = args.empty() ? "" : args.front();
  if (!args.empty()) args.erase(args.begin());
  json::object out = {{"Id", container.id()},
                      {"Created", GoTime(container.created_at())},
                      {"Path", path},
                      {"Args", StringArray(args)},
                      {"State", State(container, false)},
                      {"Image", container.image_id()},
                      {"ResolvConfPath", ""},
                      {"HostnamePath", ""},
                      {"HostsPath", ""},
                      {"LogPath", container.log_path()},
                      {"Name", "/" + entry.name},
                      {"RestartCount", container.restart_count()},
                      {"Driver", "overlay2"},
                      {"Platform", "linux"},
                      {"MountLabel", ""},
                      {"ProcessLabel", ""},
                      {"AppArmorProfile", ""},
                      {"ExecIDs", nullptr},
                      {"HostConfig", HostConfig(facts)},
                      {"GraphDriver", GraphDriver(container)},
                      {"Mounts", Mounts(container, false)},
                      {"Config", Config(facts)},
                      {"NetworkSettings", NetworkSettings(entry)}};
  if (context.size) {
    out["SizeRw"] = context.writable_bytes;
    out["SizeRootFs"] = context.writable_bytes;
  }
  return out;
}

json::object LibpodInspect(const Entry& entry, const InspectContext& context) {
  Facts facts = Gather(entry, context);
  const control::Container& container = entry.container;
  bool v5 = context.version.AtLeast(5, 0);
  std::vector<std::string> args = facts.line;
  std::string path = args.empty() ? "" : args.front();
  if (!args.empty()) args.erase(args.begin());

  json::object config = Config(facts);
  config.erase("ExposedPorts");
  config.erase("NetworkDisabled");
  config.erase("StopSignal");
  config.erase("StopTimeout");
  config.erase("MacAddress");
  config.erase("Shell");
  config["Volumes"] = nullptr;
  config["Annotations"] = StringObject(container.config().annotations());
  const std::string& signal = container.options().stop_signal();
  if (v5) {
    config["StopSignal"] = signal.empty() ? std::string("SIGTERM") : signal;
  } else {
    config["StopSignal"] = 15;
    config["Entrypoint"] = Join(facts.entrypoint, " ");
  }
  int64_t stop = container.options().has_stop_timeout_seconds() ? container.options().stop_timeout_seconds() : 10;
  config["StopTimeout"] = stop < 0 ? 0 : stop;
  config["Timeout"] = 0;
  config["Umask"] = container.options().umask().empty() ? std::string("0022") : container.options().umask();
  config["SystemdMode"] = false;
  const json::value& command = Member(facts.libpod, "containerCreateCommand");
  if (command.is_array()) config["CreateCommand"] = command;

  json::object host = HostConfig(facts);
  for (const char* key : {"Mounts",
                          "DeviceCgroupRules",
                          "DeviceRequests",
                          "MaskedPaths",
                          "ReadonlyPaths",
                          "CgroupnsMode",
                          "StorageOpt",
                          "Sysctls",
                          "Init",
                          "Annotations",
                          "Ulimits",
                          "Devices",
                          "Tmpfs",
                          "BlkioWeightDevice",
                          "BlkioDeviceReadBps",
                          "BlkioDeviceWriteBps",
                          "BlkioDeviceReadIOps",
                          "BlkioDeviceWriteIOps",
                          "MemorySwappiness",
                          "PidsLimit"}) {
    host.erase(key);
  }
  host["LogConfig"] = {
      {"Type", "json-file"}, {"Config", nullptr}, {"Path", container.log_path()}, {"Tag", ""}, {"Size", "0B"}};
  host["CgroupManager"] = "cgroupfs";
  host["CgroupMode"] = "private";
  host["Cgroups"] = "default";
  host["Binds"] = BindsOf(container);
  for (const char* key :
       {"CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "SecurityOpt", "Dns", "DnsOptions", "DnsSearch"}) {
    if (host[key].is_null()) host[key] = json::array();
  }
  if (host["NetworkMode"] == "default") host["NetworkMode"] = "bridge";

  bool in_pod = !entry.pod.implicit() && !entry.pod.id().empty();
  json::object out = {{"Id", container.id()},
                      {"Created", GoTime(container.created_at())},
                      {"Path", path},
                      {"Args", StringArray(args)},
                      {"State", State(container, true)},
                      {"Image", View(BareDigest(container.image_id()))},
                      {"ImageDigest", container.image_ref().find('@') == std::string::npos
                                          ? container.image_id()
                                          : container.image_ref().substr(container.image_ref().find('@') + 1)},
                      {"ImageName", container.image()},
                      {"Rootfs", ""},
                      {"Pod", in_pod ? entry.pod.id() : std::string()},
                      {"ResolvConfPath", ""},
                      {"HostnamePath", ""},
                      {"HostsPath", ""},
                      {"StaticDir", ""},
                      {"OCIConfigPath", ""},
                      {"OCIRuntime", container.runtime_handler()},
                      {"ConmonPidFile", ""},
                      {"PidFile", ""},
                      {"Name", entry.name},
                      {"RestartCount", container.restart_count()},
                      {"Driver", "overlay"},
                      {"MountLabel", ""},
                      {"ProcessLabel", ""},
                      {"AppArmorProfile", ""},
                      {"EffectiveCaps", nullptr},
                      {"BoundingCaps", nullptr},
                      {"ExecIDs", json::array()},
                      {"GraphDriver", GraphDriver(container)},
                      {"Mounts", Mounts(container, true)},
                      {"Dependencies", json::array()},
                      {"NetworkSettings", NetworkSettings(entry)},
                      {"Namespace", ""},
                      {"IsInfra", false},
                      {"IsService", false},
                      {"KubeExitCodePropagation", "invalid"},
                      {"lockNumber", 0},
                      {"Config", std::move(config)},
                      {"HostConfig", std::move(host)}};
  if (context.size) {
    out["SizeRw"] = context.writable_bytes;
    out["SizeRootFs"] = context.writable_bytes;
  }
  return out;
}

}  // namespace davit::api
