#include "cli/run_spec.h"

#include <fmt/format.h>

#include <cstdlib>

#include "base/strings.h"
#include "cli/run_values.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

// Of another runtime than davitd: a host port has to be named.
Result<cri::PortMapping> ParsePortMapping(const std::string& whole) {
  ASSIGN_OR_RETURN(std::vector<cri::PortMapping> ports, ParsePublish(whole));
  if (ports.size() != 1 || ports.front().host_port() == 0) {
    return InvalidArgument(fmt::format("-p \"{}\" is not HOST:CONTAINER", Printable(whole)));
  }
  return ports.front();
}

Result<cri::Mount> ParseVolume(const std::string& whole) {
  std::vector<std::string> parts = Split(whole, ':');
  bool known = parts.size() == 2 || (parts.size() == 3 && (parts[2] == "ro" || parts[2] == "rw"));
  if (!known) return InvalidArgument(fmt::format("-v \"{}\" is not SOURCE:TARGET[:ro]", Printable(whole)));
  if (!parts[0].starts_with("/") || !parts[1].starts_with("/")) {
    return InvalidArgument(fmt::format("-v \"{}\": both paths must be absolute", Printable(whole)));
  }
  cri::Mount mount;
  mount.set_host_path(parts[0]);
  mount.set_container_path(parts[1]);
  mount.set_readonly(parts.size() == 3 && parts[2] == "ro");
  return mount;
}

bool HostNetwork(const RunOptions& options) { return options.networks == std::vector<std::string>{"host"}; }

void SetNamespaces(const RunOptions& options, cri::NamespaceOption& namespaces) {
  namespaces.set_network(HostNetwork(options) ? cri::NODE : cri::POD);
  namespaces.set_pid(cri::CONTAINER);
}

}  // namespace

bool IsRunLogDirectory(std::string_view path) {
  std::string parent = std::string(kRunLogs) + "/";
  return path.starts_with(parent) && IsPathComponent(path.substr(parent.size()));
}

Result<cri::PodSandboxConfig> RunPodConfig(const RunOptions& options, const std::string& name, const std::string& uid) {
  cri::PodSandboxConfig config;
  config.mutable_metadata()->set_name(name);
  config.mutable_metadata()->set_uid(uid);
  config.mutable_metadata()->set_namespace_("default");
  if (!options.networks.empty() && !HostNetwork(options) && options.networks != std::vector<std::string>{"pod"}) {
    return InvalidArgument(fmt::format("--net \"{}\": pod or host", Printable(options.networks.front())));
  }
  if (!HostNetwork(options)) config.set_hostname(name.substr(0, 63));
  std::string logs = options.log_directory + "/" + name + "_" + uid;
  config.set_log_directory(logs);
  (*config.mutable_annotations())[kLogDirectoryAnnotation] = logs;
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(label, "--label"));
    (*config.mutable_labels())[pair.first] = pair.second;
  }
  for (const std::string& port : options.ports) {
    if (HostNetwork(options)) return InvalidArgument("-p makes no sense with --net host: every port is the node's");
    ASSIGN_OR_RETURN(*config.add_port_mappings(), ParsePortMapping(port));
  }
  SetNamespaces(options, *config.mutable_linux()->mutable_security_context()->mutable_namespace_options());
  return config;
}

Result<cri::ContainerConfig> RunContainerConfig(const RunOptions& options, const std::string& name) {
  cri::ContainerConfig config;
  config.mutable_metadata()->set_name(name);
  config.mutable_image()->set_image(options.image);
  config.mutable_image()->set_user_specified_image(options.image);
  // Like docker: what is given replaces the image's command and leaves its entry point.
  for (const std::string& word : options.command) config.add_args(word);
  config.set_working_dir(options.workdir);
  config.set_log_path("0.log");
  config.set_stdin(options.interactive);
  // With a terminal one may leave (ctrl-p ctrl-q) and come back.
  config.set_stdin_once(options.interactive && !options.detach && !options.terminal);
  config.set_tty(options.terminal);
  for (const std::string& variable : options.env) {
    size_t equals = variable.find('=');
    std::string key = variable.substr(0, equals);
    if (key.empty()) return InvalidArgument(fmt::format("-e \"{}\" has no name", Printable(variable)));
    const char* own = equals == std::string::npos ? std::getenv(key.c_str()) : nullptr;
    if (equals == std::string::npos && own == nullptr) continue;
    cri::KeyValue* entry = config.add_envs();
    entry->set_key(key);
    entry->set_value(equals == std::string::npos ? std::string(own) : variable.substr(equals + 1));
  }
  if (options.terminal) {
    cri::KeyValue* entry = config.add_envs();
    entry->set_key("TERM");
    entry->set_value("xterm");
  }
  for (const std::string& volume : options.volumes) {
    ASSIGN_OR_RETURN(*config.add_mounts(), ParseVolume(volume));
  }
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(label, "--label"));
    (*config.mutable_labels())[pair.first] = pair.second;
  }
  cri::LinuxContainerSecurityContext& security = *config.mutable_linux()->mutable_security_context();
  SetNamespaces(options, *security.mutable_namespace_options());
  RETURN_IF_ERROR(AddUser(options.user, security));
  return config;
}

}  // namespace davit::cli
