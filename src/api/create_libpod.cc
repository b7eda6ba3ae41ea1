// POST /libpod/containers/create: Podman's SpecGenerator.
#include <fmt/format.h>

#include "api/create_spec.h"
#include "base/strings.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace cri = ::runtime::v1;
namespace control = ::davit::control::v1;

// {"nsmode": "host", "value": ""} as Docker writes it: "host", "container:X".
std::string NamespaceMode(const JsonReader& space) {
  std::string mode = space["nsmode"].Str();
  std::string value = space["value"].Str();
  if (mode == "default" || mode == "auto") return "";
  if (mode == "container" || mode == "path" || mode == "ns") {
    return (mode == "container" ? "container:" : "ns:") + value;
  }
  if (mode == "from-pod" || mode == "pod") return "pod";
  return mode;
}

Status ReadCommand(const JsonReader& body, SpecBuilder& builder) {
  std::vector<std::string> entrypoint = body["entrypoint"].Strings();
  if (entrypoint.size() == 1 && entrypoint[0].empty()) entrypoint.clear();
  if (body["entrypoint"].present() && entrypoint.empty()) builder.options().set_clear_entrypoint(true);
  for (const std::string& word : entrypoint) builder.config().add_command(word);
  for (const std::string& word : body["command"].Strings()) builder.config().add_args(word);
  for (const auto& [key, value] : body["env"].StringMap()) {
    cri::KeyValue* env = builder.config().add_envs();
    env->set_key(key);
    env->set_value(value);
  }
  builder.config().set_working_dir(body["work_dir"].Str());
  builder.config().set_tty(body["terminal"].Bool());
  builder.config().set_stdin(body["stdin"].Bool());
  // Podman's clients close what they attach to: it is over then.
  builder.config().set_stdin_once(body["stdin"].Bool() && !body["terminal"].Bool());
  if (body["stop_signal"].present()) builder.options().set_stop_signal(std::to_string(body["stop_signal"].Int()));
  if (builder.options().stop_signal() == "0") builder.options().clear_stop_signal();
  if (body["stop_timeout"].present()) builder.options().set_stop_timeout_seconds(body["stop_timeout"].Int());
  for (const auto& [key, value] : body["labels"].StringMap()) (*builder.config().mutable_labels())[key] = value;
  for (const auto& [key, value] : body["annotations"].StringMap())
    (*builder.config().mutable_annotations())[key] = value;
  builder.pod().set_hostname(body["hostname"].Str());
  builder.options().set_umask(body["umask"].Str());
  JsonReader log = body["log_configuration"];
  std::map<std::string, std::string> log_options = log["options"].StringMap();
  if (int64_t size = log["size"].Int(); size != 0) log_options["max-size"] = std::to_string(size);
  for (const char* own : {"path", "tag"}) log_options.erase(own);
  RETURN_IF_ERROR(builder.LogOptions(log_options));
  if (int64_t timeout = body["timeout"].Int(); timeout > 0)
    return Unimplemented("timeout: a limit of the run time is not supported");
  RETURN_IF_ERROR(builder.User(body["user"].Str()));
  return builder.Groups(body["groups"].Strings());
}

void ReadHealth(const JsonReader& check, SpecBuilder& builder) {
  if (!check.is_object()) return;
  control::HealthCheck& to = *builder.options().mutable_health();
  for (const std::string& word : check["Test"].Strings()) to.add_test(word);
  to.set_interval(check["Interval"].Int());
  to.set_timeout(check["Timeout"].Int());
  to.set_start_period(check["StartPeriod"].Int());
  to.set_retries(static_cast<uint32_t>(std::clamp<int64_t>(check["Retries"].Int(), 0, 1'000'000)));
}

Status ReadLimits(const JsonReader& body, SpecBuilder& builder) {
  JsonReader oci = body["resource_limits"];
  cri::LinuxContainerResources& limits = builder.resources();
  limits.set_memory_limit_in_bytes(std::max<int64_t>(0, oci["memory"]["limit"].Int()));
  if (int64_t swap = oci["memory"]["swap"].Int(); swap > 0) limits.set_memory_swap_limit_in_bytes(swap);
  limits.set_cpu_shares(oci["cpu"]["shares"].Int());
  limits.set_cpu_quota(oci["cpu"]["quota"].Int());
  limits.set_cpu_period(oci["cpu"]["period"].Int());
  limits.set_cpuset_cpus(oci["cpu"]["cpus"].Str());
  limits.set_cpuset_mems(oci["cpu"]["mems"].Str());
  if (int64_t pids = oci["pids"]["limit"].Int(); pids > 0)
    (*limits.mutable_unified())["pids.max"] = std::to_string(pids);
  limits.set_oom_score_adj(body["oom_score_adj"].Int());
  for (const auto& [key, value] : body["unified"].StringMap()) (*limits.mutable_unified())[key] = value;
  for (const JsonReader& entry : body["r_limits"].Elements()) {
    control::Ulimit* limit = builder.options().add_ulimits();
    std::string name = entry["type"].Str();
    if (name.starts_with("RLIMIT_")) name.erase(0, 7);
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    limit->set_name(name);
    limit->set_soft(entry["soft"].Int());
    limit->set_hard(entry["hard"].Int());
  }
  for (const char* key : {"weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice",
                          "throttleWriteIOPSDevice", "device_cgroup_rule"}) {
    if (body[key].is_object() ? !body[key].Members().empty() : body[key].is_array() && !body[key].Elements().empty()) {
      return Unimplemented(fmt::format("{} is not supported", key));
    }
  }
  return {};
}

Status ReadSecurity(const JsonReader& body, SpecBuilder& builder) {
  cri::LinuxContainerSecurityContext& security = builder.security();
  for (const std::string& name : body["cap_add"].Strings()) security.mutable_capabilities()->add_add_capabilities(name);
  for (const std::string& name : body["cap_drop"].Strings())
    security.mutable_capabilities()->add_drop_capabilities(name);
  security.set_readonly_rootfs(body["read_only_filesystem"].Bool());
  security.set_no_new_privs(body["no_new_privileges"].Bool());
  if (body["privileged"].Bool()) {
    security.set_privileged(true);
    security.mutable_seccomp()->set_profile_type(cri::SecurityProfile::Unconfined);
    builder.pod().mutable_linux()->mutable_security_context()->set_privileged(true);
  }
  if (std::string path = body["seccomp_profile_path"].Str(); !path.empty()) {
    RETURN_IF_ERROR(builder.SecurityOption("seccomp=" + path));
  }
  if (std::string profile = body["apparmor_profile"].Str(); !profile.empty()) {
    RETURN_IF_ERROR(builder.SecurityOption("apparmor=" + profile));
  }
  for (const std::string& option : body["selinux_opts"].Strings()) {
    RETURN_IF_ERROR(builder.SecurityOption("label=" + option));
  }
  for (const std::string& path : body["unmask"].Strings()) {
    return Unimplemented(fmt::format("unmask {}: not supported: use privileged", Printable(path)));
  }
  if (!body["mask"].Strings().empty()) return Unimplemented("mask is not supported");
  for (const auto& [key, value] : body["sysctl"].StringMap())
    (*builder.pod().mutable_linux()->mutable_sysctls())[key] = value;
  for (const JsonReader& entry : body["devices"].Elements()) {
    // "source[:target[:rwm]]" in the path: how podman's command line sends it.
    std::vector<std::string> parts = Split(entry["path"].Str(), ':');
    if (!parts[0].starts_with("/") && parts[0].find('/') != std::string::npos) {
      builder.config().add_cdi_devices()->set_name(entry["path"].Str());
      continue;
    }
    cri::Device* device = builder.config().add_devices();
    device->set_host_path(parts[0]);
    device->set_container_path(parts.size() > 1 ? parts[1] : parts[0]);
    device->set_permissions(parts.size() > 2 ? parts[2] : "rwm");
  }
  return {};
}

Status ReadFiles(const JsonReader& body, SpecBuilder& builder) {
  for (const JsonReader& volume : body["volumes"].Elements()) {
    bool anonymous = volume["IsAnonymous"].Bool();
    RETURN_IF_ERROR(builder.Mount("volume", anonymous ? "" : volume["Name"].Str(), volume["Dest"].Str(),
                                  volume["Options"].Strings()));
  }
  for (const JsonReader& mount : body["mounts"].Elements()) {
    std::string type = mount["type"].Str("bind");
    std::string target = mount["destination"].Str();
    std::vector<std::string> words = mount["options"].Strings();
    if (type == "tmpfs") {
      std::vector<std::string> kept;
      for (const std::string& word : words) {
        if (word != "tmpcopyup" && word != "notmpcopyup") kept.push_back(word);
      }
      RETURN_IF_ERROR(builder.Tmpfs(target, Join(kept, ",")));
    } else {
      RETURN_IF_ERROR(builder.Mount(type, mount["source"].Str(), target, words));
    }
  }
  if (!body["overlay_volumes"].Elements().empty()) return Unimplemented("overlay volumes are not supported");
  for (const JsonReader& image : body["image_volumes"].Elements()) {
    cri::Mount* mount = builder.config().add_mounts();
    mount->mutable_image()->set_image(image["Source"].Str());
    mount->set_container_path(image["Destination"].Str());
    mount->set_readonly(!image["ReadWrite"].Bool());
  }
  builder.spec.volumes_from = body["volumes_from"].Strings();
  if (int64_t shm = body["shm_size"].Int(); shm > 0) {
    (*builder.pod().mutable_annotations())["io.kubernetes.cri-o.ShmSize"] = std::to_string(shm);
  }
  if (!body["secrets"].Elements().empty()) return Unimplemented("secrets are not supported");
  if (!body["rootfs"].Str().empty()) return Unimplemented("a root file system in place of an image is not supported");
  return {};
}

Status ReadNetworks(const JsonReader& body, SpecBuilder& builder) {
  std::string mode = NamespaceMode(body["netns"]);
  if (mode == "pod") mode.clear();
  RETURN_IF_ERROR(builder.Network(mode));
  for (const auto& [name, endpoint] : body["Networks"].Members()) {
    control::NetworkEndpointConfig* to = builder.pod_options().add_networks();
    to->set_network(name == "podman" || name == "bridge" || name == "default" ? "" : name);
    for (const std::string& alias : endpoint["aliases"].Strings()) to->add_aliases(alias);
    for (const std::string& address : endpoint["static_ips"].Strings()) {
      address.find(':') == std::string::npos ? to->set_ipv4_address(address) : to->set_ipv6_address(address);
    }
    to->set_mac_address(endpoint["static_mac"].Str());
    to->set_interface(endpoint["interface_name"].Str());
  }
  for (const JsonReader& port : body["portmappings"].Elements()) {
    int64_t range = std::clamp<int64_t>(port["range"].Int(1), 1, 65535);
    for (int64_t i = 0; i < range; ++i) {
      int64_t host_port = port["host_port"].Int();
      for (const std::string& protocol :
           Split(port["protocol"].Str("tcp").empty() ? "tcp" : port["protocol"].Str("tcp"), ',')) {
        RETURN_IF_ERROR(builder.Port(port["host_ip"].Str(), host_port == 0 ? 0 : host_port + i,
                                     port["container_port"].Int() + i, protocol));
      }
    }
  }
  builder.spec.publish_all = body["publish_image_ports"].Bool();
  for (const auto& [number, protocol] : body["expose"].Members()) {
    builder.spec.exposed.push_back(number + "/" + protocol.Str("tcp"));
  }
  cri::DNSConfig dns;
  for (const std::string& server : body["dns_server"].Strings()) dns.add_servers(server);
  for (const std::string& domain : body["dns_search"].Strings()) dns.add_searches(domain);
  for (const std::string& option : body["dns_option"].Strings()) dns.add_options(option);
  if (dns.ByteSizeLong() > 0) *builder.pod().mutable_dns_config() = dns;
  for (const std::string& line : body["hostadd"].Strings()) builder.pod_options().add_extra_hosts(line);
  return builder.Namespaces(NamespaceMode(body["pidns"]), NamespaceMode(body["ipcns"]), NamespaceMode(body["utsns"]),
                            NamespaceMode(body["userns"]), NamespaceMode(body["cgroupns"]));
}

}  // namespace

Result<CreateSpec> LibpodCreate(const JsonReader& body, const std::string& name) {
  SpecBuilder builder;
  builder.Defaults();
  RETURN_IF_ERROR(builder.Name(name.empty() ? body["name"].Str() : name));
  builder.spec.image = body["image"].Str();
  builder.spec.pod = body["pod"].Str();
  RETURN_IF_ERROR(ReadCommand(body, builder));
  ReadHealth(body["healthconfig"], builder);
  RETURN_IF_ERROR(ReadLimits(body, builder));
  RETURN_IF_ERROR(ReadSecurity(body, builder));
  RETURN_IF_ERROR(ReadFiles(body, builder));
  RETURN_IF_ERROR(ReadNetworks(body, builder));
  control::RestartPolicy& restart = *builder.options().mutable_restart();
  restart.set_name(body["restart_policy"].Str());
  restart.set_maximum_retries(static_cast<uint32_t>(std::clamp<int64_t>(body["restart_tries"].Int(), 0, 1'000'000)));
  builder.options().set_auto_remove(body["remove"].Bool());
  builder.options().set_init(body["init"].Bool());
  if (!builder.spec.pod.empty() && builder.pod().port_mappings_size() > 0) {
    return InvalidArgument("published ports belong to the pod: a container in a pod cannot publish ports");
  }
  if (std::string parent = body["cgroup_parent"].Str(); !parent.empty()) {
    builder.pod().mutable_linux()->set_cgroup_parent(parent);
  }
  return builder.spec;
}

}  // namespace davit::api
