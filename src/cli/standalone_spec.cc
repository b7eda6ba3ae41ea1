#include "cli/standalone_spec.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>

#include "base/strings.h"
#include "cli/run_values.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

constexpr int64_t kCpuPeriod = 100'000;  // microseconds

bool Has(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Status AddPairs(const std::vector<std::string>& texts, std::string_view flag,
                google::protobuf::Map<std::string, std::string>& to) {
  for (const std::string& text : texts) {
    // A label without a value is one with an empty value.
    size_t equals = text.find('=');
    if (text.empty() || equals == 0) return InvalidArgument(fmt::format("{} \"{}\" has no key", flag, Printable(text)));
    to[text.substr(0, equals)] = equals == std::string::npos ? "" : text.substr(equals + 1);
  }
  return {};
}

// A later one of the same name replaces an earlier one.
Status AddVariables(const std::vector<std::string>& texts, std::map<std::string, std::string>& to) {
  for (const std::string& text : texts) {
    size_t equals = text.find('=');
    std::string key = text.substr(0, equals);
    if (key.empty()) return InvalidArgument(fmt::format("-e \"{}\" has no name", Printable(text)));
    const char* own = equals == std::string::npos ? std::getenv(key.c_str()) : nullptr;
    if (equals == std::string::npos && own == nullptr) continue;
    to[key] = equals == std::string::npos ? std::string(own) : text.substr(equals + 1);
  }
  return {};
}

Status FillEnvironment(const RunOptions& options, cri::ContainerConfig& config) {
  std::map<std::string, std::string> variables;
  for (const std::string& file : options.env_files) {
    ASSIGN_OR_RETURN(std::vector<std::string> lines, ReadPairsFile(file));
    RETURN_IF_ERROR(AddVariables(lines, variables));
  }
  RETURN_IF_ERROR(AddVariables(options.env, variables));
  if (options.terminal) variables.emplace("TERM", "xterm");
  for (const auto& [key, value] : variables) {
    cri::KeyValue* entry = config.add_envs();
    entry->set_key(key);
    entry->set_value(value);
  }
  return {};
}

Status FillMounts(const RunOptions& options, StandaloneSpec& spec) {
  std::vector<MountWords> mounts;
  for (const std::string& text : options.volumes) {
    ASSIGN_OR_RETURN(mounts.emplace_back(), ParseVolumeFlag(text));
  }
  for (const std::string& text : options.mounts) {
    ASSIGN_OR_RETURN(mounts.emplace_back(), ParseMountFlag(text));
  }
  for (const std::string& text : options.tmpfs) {
    ASSIGN_OR_RETURN(mounts.emplace_back(), ParseTmpfsFlag(text));
  }
  for (const MountWords& words : mounts) {
    if (words.type == "bind") {
      cri::Mount* mount = spec.request.mutable_config()->add_mounts();
      mount->set_host_path(words.source);
      mount->set_container_path(words.target);
      mount->set_readonly(words.readonly);
      mount->set_selinux_relabel(words.relabel);
      const bool slave = words.propagation.ends_with("slave");
      const bool shared = words.propagation.ends_with("shared");
      mount->set_propagation(shared  ? cri::PROPAGATION_BIDIRECTIONAL
                             : slave ? cri::PROPAGATION_HOST_TO_CONTAINER
                                     : cri::PROPAGATION_PRIVATE);
      continue;
    }
    control::NamedVolume volume;
    volume.set_name(words.source);
    volume.set_container_path(words.target);
    volume.set_readonly(words.readonly);
    volume.set_no_copy(words.no_copy || words.type == "tmpfs");
    volume.set_sub_path(words.sub_path);
    if (words.type == "volume") {
      *spec.request.mutable_options()->add_volumes() = volume;
      continue;
    }
    control::CreateVolumeRequest make;
    make.set_anonymous(true);
    make.set_driver("local");
    (*make.mutable_options())["type"] = "tmpfs";
    (*make.mutable_options())["device"] = "tmpfs";
    if (!words.tmpfs_options.empty()) (*make.mutable_options())["o"] = words.tmpfs_options;
    spec.new_volumes.emplace_back(std::move(make), std::move(volume));
  }
  return {};
}

Status AddSecurityOption(const std::string& text, cri::LinuxContainerSecurityContext& security) {
  size_t cut = text.find_first_of("=:");
  std::string key = text.substr(0, cut);
  std::string value = cut == std::string::npos ? "" : text.substr(cut + 1);
  auto profile = [&](cri::SecurityProfile& to) {
    if (value == "unconfined") {
      to.set_profile_type(cri::SecurityProfile::Unconfined);
    } else {
      to.set_profile_type(cri::SecurityProfile::Localhost);
      to.set_localhost_ref(value);
    }
  };
  if (key == "no-new-privileges") {
    security.set_no_new_privs(value.empty() || value == "true");
  } else if (key == "seccomp" && (value == "unconfined" || value.starts_with("/"))) {
    profile(*security.mutable_seccomp());
  } else if (key == "apparmor" && !value.empty()) {
    profile(*security.mutable_apparmor());
  } else if (text == "label=disable" || text == "label:disable") {
    security.mutable_selinux_options()->set_type("spc_t");
  } else {
    return InvalidArgument(
        fmt::format("--security-opt \"{}\": no-new-privileges, seccomp=unconfined|/PROFILE, "
                    "apparmor=unconfined|PROFILE or label=disable",
                    Printable(text)));
  }
  return {};
}

Status FillSecurity(const RunOptions& options, cri::ContainerConfig& config) {
  cri::LinuxContainerSecurityContext& security = *config.mutable_linux()->mutable_security_context();
  security.mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  RETURN_IF_ERROR(AddUser(options.user, security));
  for (const std::string& group : options.groups) {
    auto gid = ParseUint64(group);
    if (!gid) return InvalidArgument(fmt::format("--group-add \"{}\" is not a number", Printable(group)));
    security.add_supplemental_groups(static_cast<int64_t>(*gid));
  }
  for (const std::string& name : options.capabilities) security.mutable_capabilities()->add_add_capabilities(name);
  for (const std::string& name : options.dropped_capabilities) {
    security.mutable_capabilities()->add_drop_capabilities(name);
  }
  for (const std::string& text : options.security) RETURN_IF_ERROR(AddSecurityOption(text, security));
  security.set_privileged(options.privileged);
  security.set_readonly_rootfs(options.read_only);
  for (const std::string& text : options.devices) {
    std::vector<std::string> parts = Split(text, ':');
    if (parts.size() > 3 || !parts[0].starts_with("/")) {
      if (parts.size() == 1 && text.find('=') != std::string::npos) {  // "vendor.com/class=name": of CDI
        config.add_cdi_devices()->set_name(text);
        continue;
      }
      return InvalidArgument(
          fmt::format("--device \"{}\" is not HOST[:CONTAINER[:rwm]] or a device of CDI", Printable(text)));
    }
    cri::Device* device = config.add_devices();
    device->set_host_path(parts[0]);
    device->set_container_path(parts.size() > 1 && parts[1].starts_with("/") ? parts[1] : parts[0]);
    device->set_permissions(parts.size() > 1 && !parts.back().starts_with("/") ? parts.back() : "rwm");
  }
  return {};
}

Status FillHealth(const RunOptions& options, control::ContainerOptions& to) {
  if (options.no_health) {
    if (!options.health_command.empty()) {
      return InvalidArgument("--no-healthcheck and --health-cmd exclude each other");
    }
    to.mutable_health()->add_test("NONE");
    return {};
  }
  const bool any = !options.health_command.empty() || !options.health_interval.empty() ||
                   !options.health_timeout.empty() || !options.health_start_period.empty() ||
                   options.health_retries != 0 || !options.health_on_failure.empty();
  if (!any) return {};
  control::HealthCheck& health = *to.mutable_health();
  if (!options.health_command.empty()) {
    health.add_test("CMD-SHELL");
    health.add_test(options.health_command);
  }
  auto duration = [](const std::string& text, std::string_view flag) -> Result<int64_t> {
    return text.empty() ? Result<int64_t>(0) : ParseDuration(text, flag);
  };
  ASSIGN_OR_RETURN(int64_t interval, duration(options.health_interval, "--health-interval"));
  ASSIGN_OR_RETURN(int64_t timeout, duration(options.health_timeout, "--health-timeout"));
  ASSIGN_OR_RETURN(int64_t start, duration(options.health_start_period, "--health-start-period"));
  health.set_interval(interval);
  health.set_timeout(timeout);
  health.set_start_period(start);
  health.set_retries(options.health_retries);
  health.set_on_failure(options.health_on_failure);
  return {};
}

Status FillEntrypoint(const std::string& text, StandaloneSpec& spec) {
  if (text.empty()) {
    spec.request.mutable_options()->set_clear_entrypoint(true);
    return {};
  }
  if (!text.starts_with("[")) {
    spec.request.mutable_config()->add_command(text);
    return {};
  }
  boost::json::error_code error;
  boost::json::value parsed = boost::json::parse(text, error);
  bool good = !error && parsed.is_array() && !parsed.get_array().empty();
  for (size_t i = 0; good && i < parsed.get_array().size(); ++i) {
    good = parsed.get_array()[i].is_string();
    if (good) spec.request.mutable_config()->add_command(std::string(parsed.get_array()[i].get_string()));
  }
  if (!good) return InvalidArgument(fmt::format("--entrypoint {} is no array of strings", Printable(text)));
  return {};
}

// On their way to davitd they are annotations, which it takes for itself.
Status FillLogOptions(const RunOptions& options, ::google::protobuf::Map<std::string, std::string>& annotations) {
  for (const std::string& text : options.log_options) {
    const size_t equals = std::min(text.find('='), text.size());
    const std::string key = text.substr(0, equals);
    const std::string value = text.substr(std::min(equals + 1, text.size()));
    if (key == "max-size") {
      ASSIGN_OR_RETURN(int64_t bytes, ParseBytes(value, "--log-opt max-size", true));
      annotations["io.davit.log.max-bytes"] = std::to_string(bytes);
    } else if (const auto files = ParseInt64(value); key == "max-file" && files && *files >= 1 && *files <= 1000) {
      annotations["io.davit.log.max-files"] = std::to_string(*files);
    } else {
      return InvalidArgument("--log-opt takes max-size=SIZE and max-file=COUNT (1 to 1000), not " + Printable(text));
    }
  }
  return {};
}

Status FillContainer(const RunOptions& options, StandaloneSpec& spec) {
  cri::ContainerConfig& config = *spec.request.mutable_config();
  config.mutable_metadata()->set_name(options.name);
  config.mutable_image()->set_image(options.image);
  config.mutable_image()->set_user_specified_image(options.image);
  if (options.entrypoint) RETURN_IF_ERROR(FillEntrypoint(*options.entrypoint, spec));
  // What is given replaces the image's command and leaves its entry point.
  for (const std::string& word : options.command) config.add_args(word);
  config.set_working_dir(options.workdir);
  config.set_stdin(options.interactive);
  // With a terminal one may leave (ctrl-p ctrl-q) and come back.
  config.set_stdin_once(options.interactive && !options.detach && !options.terminal);
  config.set_tty(options.terminal);
  RETURN_IF_ERROR(FillEnvironment(options, config));
  for (const std::string& file : options.label_files) {
    ASSIGN_OR_RETURN(std::vector<std::string> lines, ReadPairsFile(file));
    RETURN_IF_ERROR(AddPairs(lines, "--label-file", *config.mutable_labels()));
  }
  RETURN_IF_ERROR(AddPairs(options.labels, "--label", *config.mutable_labels()));
  RETURN_IF_ERROR(AddPairs(options.annotations, "--annotation", *config.mutable_annotations()));
  RETURN_IF_ERROR(FillLogOptions(options, *config.mutable_annotations()));
  RETURN_IF_ERROR(FillMounts(options, spec));
  RETURN_IF_ERROR(FillSecurity(options, config));
  ASSIGN_OR_RETURN(*config.mutable_linux()->mutable_resources(), ResourcesOf(options));
  return {};
}

Status FillOptions(const RunOptions& options, control::ContainerOptions& to) {
  to.set_name(options.name);
  if (!options.restart.empty()) {
    ASSIGN_OR_RETURN(*to.mutable_restart(), ParseRestart(options.restart));
    if (options.remove && to.restart().name() != "no") {
      return InvalidArgument("--rm and --restart exclude each other: one removes what the other starts again");
    }
  }
  RETURN_IF_ERROR(FillHealth(options, to));
  to.set_auto_remove(options.remove);
  if (options.stop_timeout) to.set_stop_timeout_seconds(*options.stop_timeout);
  to.set_stop_signal(options.stop_signal);
  to.set_init(options.init);
  to.set_umask(options.umask);
  for (const std::string& text : options.ulimits) {
    ASSIGN_OR_RETURN(*to.add_ulimits(), ParseUlimit(text));
  }
  return {};
}

// Namespaces of the container and, as far as they are shared, of its pod.
Status FillNamespaces(const RunOptions& options, StandaloneSpec& spec) {
  cri::NamespaceOption& own =
      *spec.request.mutable_config()->mutable_linux()->mutable_security_context()->mutable_namespace_options();
  own.set_pid(options.pid == "host" ? cri::NODE : cri::CONTAINER);
  own.set_ipc(options.ipc == "host" ? cri::NODE : cri::POD);
  own.set_network(Has(options.networks, "host") ? cri::NODE : cri::POD);
  for (const auto& [text, flag] : {std::pair(options.pid, "--pid"), std::pair(options.ipc, "--ipc")}) {
    if (!text.empty() && text != "host" && text != "private") {
      return InvalidArgument(fmt::format("{} \"{}\": host or private", flag, Printable(text)));
    }
  }
  if (options.pod.empty()) {
    *spec.request.mutable_pod_config()->mutable_linux()->mutable_security_context()->mutable_namespace_options() = own;
  }
  return {};
}

Status FillNetworks(const RunOptions& options, StandaloneSpec& spec) {
  const bool alone = Has(options.networks, "host") || Has(options.networks, "none");
  if (alone && options.networks.size() > 1) {
    return InvalidArgument("--network: host and none exclude every other network");
  }
  control::PodOptions& pod = *spec.request.mutable_pod_options();
  pod.set_no_network(Has(options.networks, "none"));
  if (alone && (!options.address.empty() || !options.aliases.empty())) {
    return InvalidArgument("--ip and --network-alias need a network");
  }
  if (!alone) {
    for (const std::string& name : options.networks) {
      // The names that clients have for "the usual one".
      const bool usual = name == "pod" || name == "default" || name == "bridge";
      pod.add_networks()->set_network(usual ? "" : name);
    }
    if (options.networks.empty() && (!options.address.empty() || !options.aliases.empty())) pod.add_networks();
    if (pod.networks_size() > 0) {
      pod.mutable_networks(0)->set_ipv4_address(options.address);
      for (const std::string& alias : options.aliases) pod.mutable_networks(0)->add_aliases(alias);
    }
  }
  for (const std::string& text : options.ports) {
    if (alone) return InvalidArgument("-p makes no sense with --network host or none");
    ASSIGN_OR_RETURN(std::vector<cri::PortMapping> ports, ParsePublish(text));
    for (cri::PortMapping& port : ports) {
      if (port.host_port() == 0) pod.set_random_ports(true);
      *spec.request.mutable_pod_config()->add_port_mappings() = std::move(port);
    }
  }
  return {};
}

Status FillPod(const RunOptions& options, StandaloneSpec& spec) {
  if (!options.pod.empty()) {
    const bool of_pod = !options.networks.empty() || !options.ports.empty() || options.publish_all ||
                        !options.hostname.empty() || !options.dns.empty() || !options.hosts.empty() ||
                        !options.sysctls.empty() || !options.handler.empty();
    if (of_pod) {
      return InvalidArgument(
          "--pod: network, ports, hostname, DNS, hosts, sysctls and runtime are the pod's (davit pod create)");
    }
    spec.request.set_pod(options.pod);
    return {};
  }
  cri::PodSandboxConfig& config = *spec.request.mutable_pod_config();
  config.mutable_metadata()->set_name(options.name);
  config.set_hostname(options.hostname);
  for (const std::string& one : options.dns) config.mutable_dns_config()->add_servers(one);
  for (const std::string& one : options.dns_search) config.mutable_dns_config()->add_searches(one);
  for (const std::string& one : options.dns_options) config.mutable_dns_config()->add_options(one);
  RETURN_IF_ERROR(AddPairs(options.sysctls, "--sysctl", *config.mutable_linux()->mutable_sysctls()));
  config.mutable_linux()->mutable_security_context()->set_privileged(options.privileged);
  for (const std::string& host : options.hosts) {
    if (host.find(':') == std::string::npos || host.front() == ':') {
      return InvalidArgument(fmt::format("--add-host \"{}\" is not NAME:ADDRESS", Printable(host)));
    }
    spec.request.mutable_pod_options()->add_extra_hosts(host);
  }
  spec.request.set_runtime_handler(options.handler);
  return FillNetworks(options, spec);
}

}  // namespace

Result<StandaloneSpec> MakeStandaloneSpec(const RunOptions& options) {
  StandaloneSpec spec;
  RETURN_IF_ERROR(FillPod(options, spec));
  RETURN_IF_ERROR(FillContainer(options, spec));
  RETURN_IF_ERROR(FillOptions(options, *spec.request.mutable_options()));
  RETURN_IF_ERROR(FillNamespaces(options, spec));
  return spec;
}

Result<cri::LinuxContainerResources> ResourcesOf(const RunOptions& options) {
  cri::LinuxContainerResources out;
  if (!options.memory.empty()) {
    ASSIGN_OR_RETURN(int64_t bytes, ParseBytes(options.memory, "--memory"));
    out.set_memory_limit_in_bytes(bytes);
  }
  if (!options.memory_swap.empty()) {
    ASSIGN_OR_RETURN(int64_t bytes, ParseBytes(options.memory_swap, "--memory-swap", true));
    out.set_memory_swap_limit_in_bytes(bytes);
  }
  if (options.cpus < 0) return InvalidArgument("--cpus must not be negative");
  if (options.cpus > 0) {
    out.set_cpu_period(kCpuPeriod);
    out.set_cpu_quota(static_cast<int64_t>(std::llround(options.cpus * static_cast<double>(kCpuPeriod))));
  }
  out.set_cpu_shares(options.cpu_shares);
  out.set_cpuset_cpus(options.cpuset_cpus);
  out.set_cpuset_mems(options.cpuset_mems);
  out.set_oom_score_adj(options.oom_score);
  if (options.pids_limit > 0) (*out.mutable_unified())["pids.max"] = std::to_string(options.pids_limit);
  return out;
}

std::string ChooseName() {
  static constexpr std::array<const char*, 16> kHow = {"amber", "bold",  "calm",  "deft",  "eager", "fair",
                                                       "glad",  "hardy", "ideal", "jolly", "kind",  "lively",
                                                       "neat",  "proud", "ready", "steady"};
  static constexpr std::array<const char*, 16> kWhat = {"alder", "birch",   "cedar",  "dogwood", "elm", "fir",
                                                        "hazel", "juniper", "larch",  "maple",   "oak", "pine",
                                                        "rowan", "spruce",  "willow", "yew"};
  uint32_t dice = 0;
  while (::getrandom(&dice, sizeof dice, 0) != sizeof dice) {
  }
  return fmt::format("{}_{}{}", kHow[dice & 15], kWhat[(dice >> 4) & 15], (dice >> 8) % 100000);
}

std::string FlagOfDavitd(const RunOptions& o) {
  const std::pair<bool, const char*> flags[] = {
      {!o.env_files.empty(), "--env-file"},
      {!o.label_files.empty(), "--label-file"},
      {!o.annotations.empty(), "--annotation"},
      {!o.mounts.empty(), "--mount"},
      {!o.tmpfs.empty(), "--tmpfs"},
      {o.publish_all, "-P"},
      {!o.aliases.empty(), "--network-alias"},
      {!o.address.empty(), "--ip"},
      {!o.hostname.empty(), "--hostname"},
      {o.entrypoint.has_value(), "--entrypoint"},
      {!o.restart.empty() && o.restart != "no", "--restart"},
      {!o.health_command.empty(), "--health-cmd"},
      {!o.memory.empty() || !o.memory_swap.empty(), "--memory"},
      {o.cpus != 0 || o.cpu_shares != 0 || !o.cpuset_cpus.empty() || !o.cpuset_mems.empty(), "--cpus"},
      {o.pids_limit != 0, "--pids-limit"},
      {!o.capabilities.empty() || !o.dropped_capabilities.empty(), "--cap-add"},
      {!o.security.empty(), "--security-opt"},
      {!o.groups.empty(), "--group-add"},
      {!o.devices.empty(), "--device"},
      {!o.sysctls.empty(), "--sysctl"},
      {o.privileged, "--privileged"},
      {o.read_only, "--read-only"},
      {o.init, "--init"},
      {!o.pid.empty() || !o.ipc.empty(), "--pid"},
      {!o.umask.empty(), "--umask"},
      {!o.stop_signal.empty() || o.stop_timeout.has_value(), "--stop-signal"},
      {!o.pod.empty(), "--pod"},
      {!o.ulimits.empty(), "--ulimit"},
      {!o.log_options.empty(), "--log-opt"},
      {!o.hosts.empty(), "--add-host"},
      {!o.dns.empty() || !o.dns_search.empty() || !o.dns_options.empty(), "--dns"},
  };
  for (const auto& [given, flag] : flags) {
    if (given) return flag;
  }
  return {};
}

}  // namespace davit::cli
