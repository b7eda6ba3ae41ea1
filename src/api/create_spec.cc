#include "api/create_spec.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "base/strings.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {

namespace cri = ::runtime::v1;
namespace control = ::davit::control::v1;

std::string ChooseName() {
  static constexpr std::array<const char*, 16> kHow = {"quiet", "brave", "early", "mild",  "swift", "plain",
                                                       "merry", "sound", "light", "proud", "still", "warm",
                                                       "clear", "keen",  "young", "sharp"};
  static constexpr std::array<const char*, 16> kWhat = {"heron", "otter",  "crane", "plover", "lynx", "stoat",
                                                        "finch", "badger", "raven", "marten", "tern", "osprey",
                                                        "hare",  "ibis",   "perch", "siskin"};
  uint32_t dice = 0;
  while (::getrandom(&dice, sizeof dice, 0) != sizeof dice) {
  }
  return fmt::format("{}_{}{}", kHow[dice & 15], kWhat[(dice >> 4) & 15], (dice >> 8) % 100000);
}

void SpecBuilder::Defaults() {
  cri::NamespaceOption& own = *security().mutable_namespace_options();
  own.set_pid(cri::CONTAINER);
  pod().mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(cri::CONTAINER);
  security().mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
}

Status SpecBuilder::Name(std::string name) {
  if (name.starts_with("/")) name.erase(0, 1);
  if (name.empty()) name = ChooseName();
  bool good = name.size() <= 253 && std::isalnum(static_cast<unsigned char>(name[0])) != 0 && IsPathComponent(name);
  if (!good) {
    return InvalidArgument(fmt::format(
        "container name \"{}\": names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument", Printable(name)));
  }
  options().set_name(name);
  config().mutable_metadata()->set_name(name);
  pod().mutable_metadata()->set_name(name);
  return {};
}

Status SpecBuilder::User(const std::string& text) {
  if (text.empty()) return {};
  size_t colon = text.find(':');
  std::string user = text.substr(0, colon);
  std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (auto uid = ParseInt64(user)) {
    security().mutable_run_as_user()->set_value(*uid);
  } else if (!user.empty()) {
    security().set_run_as_username(user);
  }
  if (group.empty()) return {};
  auto gid = ParseInt64(group);
  if (!gid)
    return Unimplemented(fmt::format("user \"{}\": groups by name are not supported: use the number", Printable(text)));
  security().mutable_run_as_group()->set_value(*gid);
  return {};
}

Status SpecBuilder::Groups(const std::vector<std::string>& groups) {
  for (const std::string& group : groups) {
    auto gid = ParseInt64(group);
    if (!gid) {
      return Unimplemented(
          fmt::format("additional group \"{}\": groups by name are not supported: use the number", Printable(group)));
    }
    security().add_supplemental_groups(*gid);
  }
  return {};
}

Status SpecBuilder::Env(const std::vector<std::string>& pairs) {
  for (const std::string& pair : pairs) {
    size_t equals = pair.find('=');
    // "NAME" alone takes a variable away, and there is none of ours to take from.
    if (equals == std::string::npos) continue;
    if (equals == 0) return InvalidArgument(fmt::format("environment: \"{}\" has no name", Printable(pair)));
    cri::KeyValue* env = config().add_envs();
    env->set_key(pair.substr(0, equals));
    env->set_value(pair.substr(equals + 1));
  }
  return {};
}

Status SpecBuilder::SecurityOption(const std::string& text) {
  size_t cut = text.find_first_of("=:");
  std::string key = text.substr(0, cut);
  std::string value = cut == std::string::npos ? "" : text.substr(cut + 1);
  if (key == "no-new-privileges") {
    if (value.empty() || value == "true") security().set_no_new_privs(true);
    return {};
  }
  if (key == "seccomp") {
    if (value == "unconfined") {
      security().mutable_seccomp()->set_profile_type(cri::SecurityProfile::Unconfined);
      return {};
    }
    if (value.empty() || value == "default" || value == "builtin") return {};
    if (value.starts_with("/")) {
      security().mutable_seccomp()->set_profile_type(cri::SecurityProfile::Localhost);
      security().mutable_seccomp()->set_localhost_ref(value);
      return {};
    }
    return Unimplemented("seccomp: a profile in the request is not supported: put it on the node and name its path");
  }
  if (key == "apparmor") {
    if (value == "unconfined") {
      security().mutable_apparmor()->set_profile_type(cri::SecurityProfile::Unconfined);
    } else if (!value.empty() && value != "docker-default" && value != "containers-default") {
      security().mutable_apparmor()->set_profile_type(cri::SecurityProfile::Localhost);
      security().mutable_apparmor()->set_localhost_ref(value);
    }
    return {};
  }
  if (key == "label") {
    size_t part = value.find(':');
    std::string what = value.substr(0, part);
    std::string with = part == std::string::npos ? "" : value.substr(part + 1);
    cri::SELinuxOption& options = *security().mutable_selinux_options();
    if (what == "disable") {
      options.set_type("spc_t");
    } else if (what == "user") {
      options.set_user(with);
    } else if (what == "role") {
      options.set_role(with);
    } else if (what == "type") {
      options.set_type(with);
    } else if (what == "level") {
      options.set_level(with);
    } else {
      return InvalidArgument(fmt::format("security option \"{}\" is not known", Printable(text)));
    }
    return {};
  }
  if (text == "systempaths=unconfined" || text == "unmask=ALL") {
    return Unimplemented("security option \"" + text + "\" is not supported: use privileged");
  }
  return InvalidArgument(fmt::format("security option \"{}\" is not known", Printable(text)));
}

Status SpecBuilder::Mount(const std::string& type, const std::string& source, const std::string& target,
                          const std::vector<std::string>& words) {
  if (!target.starts_with("/")) {
    return InvalidArgument(fmt::format("mount: target \"{}\" is not an absolute path", Printable(target)));
  }
  bool readonly = false;
  bool no_copy = false;
  bool relabel = false;
  cri::MountPropagation propagation = cri::PROPAGATION_PRIVATE;
  for (const std::string& word : words) {
    if (word == "ro" || word == "readonly") {
      readonly = true;
    } else if (word == "nocopy") {
      no_copy = true;
    } else if (word == "z" || word == "Z") {
      relabel = true;
    } else if (word == "shared" || word == "rshared") {
      propagation = cri::PROPAGATION_BIDIRECTIONAL;
    } else if (word == "slave" || word == "rslave") {
      propagation = cri::PROPAGATION_HOST_TO_CONTAINER;
    } else if (word == "U" || word == "idmap" || word.starts_with("idmap=") || word == "O") {
      return Unimplemented(fmt::format("mount option \"{}\" is not supported", Printable(word)));
    }
    // rw, bind, rbind, private, copy, consistency and the like say what holds anyway.
  }
  if (type == "volume") {
    control::NamedVolume* volume = options().add_volumes();
    volume->set_name(source);
    volume->set_container_path(target);
    volume->set_readonly(readonly);
    volume->set_no_copy(no_copy);
    return {};
  }
  if (type != "bind") return Unimplemented(fmt::format("mount type \"{}\" is not supported", Printable(type)));
  if (!source.starts_with("/")) {
    return InvalidArgument(fmt::format("mount: source \"{}\" is not an absolute path", Printable(source)));
  }
  cri::Mount* mount = config().add_mounts();
  mount->set_host_path(source);
  mount->set_container_path(target);
  mount->set_readonly(readonly);
  mount->set_selinux_relabel(relabel);
  mount->set_propagation(propagation);
  return {};
}

Status SpecBuilder::Bind(const std::string& text) {
  std::vector<std::string> parts = Split(text, ':');
  if (parts.size() == 1) return Mount("volume", "", parts[0], {});
  if (parts.size() > 3)
    return InvalidArgument(fmt::format("bind \"{}\" is not source:target[:options]", Printable(text)));
  std::vector<std::string> words = parts.size() == 3 ? Split(parts[2], ',') : std::vector<std::string>();
  return Mount(parts[0].starts_with("/") ? "bind" : "volume", parts[0], parts[1], words);
}

Status SpecBuilder::Tmpfs(const std::string& target, const std::string& options_text) {
  if (!target.starts_with("/")) {
    return InvalidArgument(fmt::format("tmpfs: target \"{}\" is not an absolute path", Printable(target)));
  }
  NewVolume made;
  made.request.set_anonymous(true);
  made.request.set_driver("local");
  auto& options_map = *made.request.mutable_options();
  options_map["type"] = "tmpfs";
  options_map["device"] = "tmpfs";
  if (!options_text.empty()) options_map["o"] = options_text;
  made.mount.set_container_path(target);
  made.mount.set_no_copy(true);
  spec.new_volumes.push_back(std::move(made));
  return {};
}

Status SpecBuilder::Port(const std::string& host_ip, int64_t host_port, int64_t container_port,
                         const std::string& protocol) {
  auto in_range = [](int64_t port) { return port >= 0 && port <= 65535; };
  if (!in_range(host_port) || !in_range(container_port) || container_port == 0) {
    return InvalidArgument(fmt::format("port {}:{} is out of range", host_port, container_port));
  }
  cri::PortMapping* port = pod().add_port_mappings();
  if (protocol.empty() || protocol == "tcp") {
    port->set_protocol(cri::TCP);
  } else if (protocol == "udp") {
    port->set_protocol(cri::UDP);
  } else if (protocol == "sctp") {
    port->set_protocol(cri::SCTP);
  } else {
    return InvalidArgument(fmt::format("port {}: protocol \"{}\" is not known", container_port, Printable(protocol)));
  }
  port->set_container_port(static_cast<int32_t>(container_port));
  port->set_host_port(static_cast<int32_t>(host_port));
  port->set_host_ip(host_ip == "0.0.0.0" ? "" : host_ip);
  if (host_port == 0) pod_options().set_random_ports(true);
  return {};
}

Status SpecBuilder::Namespaces(const std::string& pid, const std::string& ipc, const std::string& uts,
                               const std::string& user, const std::string& cgroup) {
  cri::NamespaceOption& own = *security().mutable_namespace_options();
  cri::NamespaceOption& shared = *pod().mutable_linux()->mutable_security_context()->mutable_namespace_options();
  if (pid == "host") {
    own.set_pid(cri::NODE);
    shared.set_pid(cri::NODE);
  } else if (pid.starts_with("container:")) {
    own.set_pid(cri::TARGET);
    spec.pid_of = pid.substr(10);
  } else if (pid == "pod") {
    own.set_pid(cri::POD);
  } else if (!pid.empty() && pid != "private") {
    return InvalidArgument(fmt::format("PID mode \"{}\" is not known", Printable(pid)));
  }
  if (ipc == "host") {
    own.set_ipc(cri::NODE);
    shared.set_ipc(cri::NODE);
  } else if (ipc.starts_with("container:")) {
    if (spec.share_with.empty()) {
      return Unimplemented("IPC mode container:X is not supported without network container:X: share a pod");
    }
  } else if (!ipc.empty() && ipc != "private" && ipc != "shareable" && ipc != "none" && ipc != "pod") {
    return InvalidArgument(fmt::format("IPC mode \"{}\" is not known", Printable(ipc)));
  }
  if (uts == "host" && !host_network_) return Unimplemented("UTS mode host is not supported without network host");
  if (!uts.empty() && uts != "host" && uts != "private" && uts != "pod") {
    return Unimplemented(fmt::format("UTS mode \"{}\" is not supported", Printable(uts)));
  }
  if (!user.empty() && user != "host") {
    return Unimplemented(fmt::format("user namespace mode \"{}\" is not supported", Printable(user)));
  }
  if (!cgroup.empty() && cgroup != "private") {
    return Unimplemented(fmt::format("cgroup namespace mode \"{}\" is not supported", Printable(cgroup)));
  }
  return {};
}

Status SpecBuilder::LogOptions(const std::map<std::string, std::string>& options) {
  for (const auto& [key, value] : options) {
    if (key == "max-size") {
      size_t end = 0;
      double number = std::strtod(value.c_str(), nullptr);
      while (end < value.size() && (std::isdigit(static_cast<unsigned char>(value[end])) != 0 || value[end] == '.' ||
                                    (end == 0 && value[end] == '-'))) {
        ++end;
      }
      constexpr std::string_view kUnits = "bkmgt";
      std::string unit = value.substr(end);
      for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (unit.ends_with("ib")) unit.erase(unit.size() - 2);
      if (unit.size() == 2 && unit[1] == 'b') unit.pop_back();
      size_t power = unit.empty() ? 0 : kUnits.find(unit[0]);
      if (end == 0 || unit.size() > 1 || power == std::string_view::npos || number > 1e12) {
        return InvalidArgument(fmt::format("log option max-size \"{}\" is no size", Printable(value, 32)));
      }
      double bytes = number * std::pow(1024.0, static_cast<double>(power));
      int64_t whole = bytes <= 0 ? -1 : static_cast<int64_t>(std::min(bytes, 1e15));
      (*config().mutable_annotations())["io.davit.log.max-bytes"] = std::to_string(whole);
    } else if (key == "max-file") {
      int64_t files = ParseInt64(value).value_or(0);
      if (files < 1 || files > 1000) {
        return InvalidArgument(fmt::format("log option max-file \"{}\" is outside 1 to 1000", Printable(value, 32)));
      }
      (*config().mutable_annotations())["io.davit.log.max-files"] = std::to_string(files);
    } else if (key != "mode" && key != "compress") {
      Warn(fmt::format("log option \"{}\" has no effect", Printable(key, 64)));
    }
  }
  return {};
}

Status SpecBuilder::Network(const std::string& mode) {
  cri::NamespaceOption& own = *security().mutable_namespace_options();
  cri::NamespaceOption& shared = *pod().mutable_linux()->mutable_security_context()->mutable_namespace_options();
  if (mode == "host") {
    host_network_ = true;
    own.set_network(cri::NODE);
    shared.set_network(cri::NODE);
    return {};
  }
  if (mode == "none") {
    pod_options().set_no_network(true);
    return {};
  }
  if (mode.starts_with("container:")) {
    spec.share_with = mode.substr(10);
    return {};
  }
  if (mode.starts_with("ns:") || mode.starts_with("slirp4netns") || mode.starts_with("pasta")) {
    return Unimplemented(fmt::format("network mode \"{}\" is not supported", Printable(mode)));
  }
  if (mode.empty() || mode == "default" || mode == "bridge" || mode == "podman" || mode == "private") return {};
  control::NetworkEndpointConfig* endpoint = pod_options().add_networks();
  endpoint->set_network(mode);
  return {};
}

}  // namespace davit::api
