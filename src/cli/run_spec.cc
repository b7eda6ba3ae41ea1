#include "cli/run_spec.h"

#include <fmt/format.h>

#include <cstdlib>

#include "base/strings.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

Result<int32_t> ParsePort(const std::string& text, const std::string& whole) {
  auto number = ParseUint64(text);
  if (!number || *number == 0 || *number > 65535) {
    return InvalidArgument(fmt::format("-p \"{}\": \"{}\" is no port (1 to 65535)", Printable(whole), Printable(text)));
  }
  return static_cast<int32_t>(*number);
}

// [ADDRESS:]HOST:CONTAINER[/tcp|udp|sctp], ADDRESS in brackets when IPv6.
Result<cri::PortMapping> ParsePortMapping(const std::string& whole) {
  cri::PortMapping mapping;
  std::string text = whole;
  if (size_t slash = text.rfind('/'); slash != std::string::npos) {
    std::string protocol = text.substr(slash + 1);
    for (char& c : protocol) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    cri::Protocol value = cri::TCP;
    if (!cri::Protocol_Parse(protocol, &value)) {
      return InvalidArgument(fmt::format("-p \"{}\": the protocol is tcp, udp or sctp", Printable(whole)));
    }
    mapping.set_protocol(value);
    text.resize(slash);
  }
  size_t colon = text.rfind(':');
  if (colon == std::string::npos)
    return InvalidArgument(fmt::format("-p \"{}\" is not HOST:CONTAINER", Printable(whole)));
  ASSIGN_OR_RETURN(int32_t container, ParsePort(text.substr(colon + 1), whole));
  text.resize(colon);
  colon = text.rfind(':');
  ASSIGN_OR_RETURN(int32_t host, ParsePort(colon == std::string::npos ? text : text.substr(colon + 1), whole));
  if (colon != std::string::npos) {
    std::string address = text.substr(0, colon);
    if (address.size() > 2 && address.front() == '[' && address.back() == ']')
      address = address.substr(1, address.size() - 2);
    mapping.set_host_ip(address);
  }
  mapping.set_container_port(container);
  mapping.set_host_port(host);
  return mapping;
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

Status AddUser(const std::string& user, cri::LinuxContainerSecurityContext& context) {
  if (user.empty()) return {};
  size_t colon = user.find(':');
  std::string name = user.substr(0, colon);
  auto uid = ParseUint64(name);
  if (uid) {
    context.mutable_run_as_user()->set_value(static_cast<int64_t>(*uid));
  } else {
    context.set_run_as_username(name);
  }
  if (colon == std::string::npos) return {};
  auto gid = ParseUint64(user.substr(colon + 1));
  if (!gid) return InvalidArgument(fmt::format("-u \"{}\": the group must be a number", Printable(user)));
  context.mutable_run_as_group()->set_value(static_cast<int64_t>(*gid));
  return {};
}

void SetNamespaces(const RunOptions& options, cri::NamespaceOption& namespaces) {
  namespaces.set_network(options.network == "host" ? cri::NODE : cri::POD);
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
  if (options.network != "pod" && options.network != "host") {
    return InvalidArgument(fmt::format("--net \"{}\": pod or host", Printable(options.network)));
  }
  if (options.network == "pod") config.set_hostname(name.substr(0, 63));
  std::string logs = options.log_directory + "/" + name + "_" + uid;
  config.set_log_directory(logs);
  (*config.mutable_annotations())[kLogDirectoryAnnotation] = logs;
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(label, "--label"));
    (*config.mutable_labels())[pair.first] = pair.second;
  }
  for (const std::string& port : options.ports) {
    if (options.network == "host")
      return InvalidArgument("-p makes no sense with --net host: every port is the node's");
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
