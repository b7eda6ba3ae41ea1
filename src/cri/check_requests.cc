#include "cri/check_requests.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/strings.h"

namespace davit::cri {
namespace {

constexpr size_t kMaxName = 1024;
constexpr size_t kMaxPath = 4096;
constexpr int kMaxPaths = 1024;  // of masked and of read-only ones: each is a mount

std::string Indexed(std::string_view field, int index) {
  return std::string(field) + "[" + std::to_string(index) + "]";
}

// Names end up in CNI_ARGS ("NAME=value;…"), in paths of other tools and in logs.
Status CheckName(const std::string& name, std::string_view field) {
  if (name.size() > kMaxName) return InvalidArgument(std::string(field) + " is longer than 1024 bytes");
  bool bad = std::any_of(name.begin(), name.end(),
                         [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '/' || c == ';' || c == '='; });
  if (bad || name == "." || name == "..") {
    return InvalidArgument(std::string(field) + " \"" + Printable(name) +
                           "\" is no name: control characters, '/', ';' and '=' are not allowed");
  }
  return {};
}

// Absolute, and as it stands: no "..".
Status CheckPath(const std::string& path, const std::string& field) {
  std::string shown = field + " \"" + Printable(path) + "\"";
  if (path.empty() || path[0] != '/') return InvalidArgument(shown + " is not absolute");
  if (path.size() > kMaxPath) return InvalidArgument(field + " is longer than 4096 bytes");
  if (path.find('\0') != std::string::npos) return InvalidArgument(field + " contains a NUL byte");
  std::vector<std::string> parts = Split(path, '/');
  if (std::find(parts.begin(), parts.end(), "..") != parts.end()) return InvalidArgument(shown + " contains \"..\"");
  return {};
}

Status CheckPaths(const ::google::protobuf::RepeatedPtrField<std::string>& paths, std::string_view field) {
  if (paths.size() > kMaxPaths) return InvalidArgument(std::string(field) + " has more than 1024 entries");
  for (int i = 0; i < paths.size(); ++i) RETURN_IF_ERROR(CheckPath(paths[i], Indexed(field, i)));
  return {};
}

bool IsAddress(const std::string& text) {
  in6_addr buffer{};
  if (text.find('\0') != std::string::npos) return false;  // inet_pton would stop there
  return ::inet_pton(AF_INET, text.c_str(), &buffer) == 1 || ::inet_pton(AF_INET6, text.c_str(), &buffer) == 1;
}

Status CheckProfile(const v1::SecurityProfile& profile, const std::string& field) {
  if (!v1::SecurityProfile_ProfileType_IsValid(profile.profile_type())) {
    return InvalidArgument(field + ".profile_type " + std::to_string(profile.profile_type()) + " is not known");
  }
  if (profile.profile_type() == v1::SecurityProfile::Localhost && profile.localhost_ref().empty()) {
    return InvalidArgument(field + ".localhost_ref is empty");
  }
  return {};
}

Status CheckEnvironment(const v1::ContainerConfig& config) {
  for (int i = 0; i < config.envs_size(); ++i) {
    // The OCI runtime is configured in JSON, which has no other text: better a refusal than other bytes.
    if (!IsUtf8(config.envs(i).value())) {
      return InvalidArgument(Indexed("envs", i) + ".value of \"" + Printable(config.envs(i).key()) + "\" is not UTF-8");
    }
  }
  return {};
}

}  // namespace

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    int more = lead >= 0xc2 && lead <= 0xdf ? 1 : (lead & 0xf0) == 0xe0 ? 2 : lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
    if (more == 0 || text.size() - i < static_cast<size_t>(more)) return false;
    unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (; more > 0; --more, ++i) {
      auto next = static_cast<unsigned char>(text[i]);
      if (next < low || next > high) return false;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

Status CheckPodConfig(const v1::PodSandboxConfig& config) {
  RETURN_IF_ERROR(CheckName(config.metadata().name(), "metadata.name"));
  RETURN_IF_ERROR(CheckName(config.metadata().uid(), "metadata.uid"));
  RETURN_IF_ERROR(CheckName(config.metadata().namespace_(), "metadata.namespace"));
  if (!config.log_directory().empty()) RETURN_IF_ERROR(CheckPath(config.log_directory(), "log_directory"));
  for (int i = 0; i < config.port_mappings_size(); ++i) {
    const std::string& ip = config.port_mappings(i).host_ip();
    if (!ip.empty() && !IsAddress(ip)) {
      return InvalidArgument(Indexed("port_mappings", i) + ".host_ip \"" + Printable(ip) + "\" is not an IP address");
    }
  }
  const auto& security = config.linux().security_context();
  RETURN_IF_ERROR(CheckProfile(security.seccomp(), "linux.security_context.seccomp"));
  return CheckProfile(security.apparmor(), "linux.security_context.apparmor");
}

Status CheckContainerConfig(const v1::ContainerConfig& config) {
  RETURN_IF_ERROR(CheckName(config.metadata().name(), "metadata.name"));
  RETURN_IF_ERROR(CheckEnvironment(config));
  const auto& security = config.linux().security_context();
  RETURN_IF_ERROR(CheckPaths(security.masked_paths(), "linux.security_context.masked_paths"));
  RETURN_IF_ERROR(CheckPaths(security.readonly_paths(), "linux.security_context.readonly_paths"));
  RETURN_IF_ERROR(CheckProfile(security.seccomp(), "linux.security_context.seccomp"));
  return CheckProfile(security.apparmor(), "linux.security_context.apparmor");
}

Status CheckFilter(const v1::PodSandboxFilter& filter) {
  if (v1::PodSandboxState_IsValid(filter.state().state())) return {};
  return InvalidArgument("filter.state " + std::to_string(filter.state().state()) + " is not known");
}

Status CheckFilter(const v1::ContainerFilter& filter) {
  if (v1::ContainerState_IsValid(filter.state().state())) return {};
  return InvalidArgument("filter.state " + std::to_string(filter.state().state()) + " is not known");
}

Status CheckStreams(bool tty, bool want_stdin, bool want_stdout, bool want_stderr) {
  if (!want_stdin && !want_stdout && !want_stderr) {
    return InvalidArgument("stdin, stdout, stderr: at least one must be asked for");
  }
  if (tty && want_stderr) return InvalidArgument("stderr: a terminal (tty) has one stream for both outputs");
  return {};
}

Status CheckCommand(const ::google::protobuf::RepeatedPtrField<std::string>& command) {
  if (command.empty() || command[0].empty()) return InvalidArgument("cmd is empty");
  for (int i = 0; i < command.size(); ++i) {
    if (command[i].find('\0') != std::string::npos) return InvalidArgument(Indexed("cmd", i) + " contains a NUL byte");
  }
  return {};
}

}  // namespace davit::cri
