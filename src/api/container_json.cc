// Containers in lists.
#include <fmt/format.h>

#include <algorithm>

#include "api/json_out.h"
#include "base/strings.h"
#include "base/time.h"

namespace davit::api {

namespace json = boost::json;

std::string_view StateName(control::StandaloneState state) {
  switch (state) {
    case control::STATE_CREATED:
      return "created";
    case control::STATE_RUNNING:
      return "running";
    case control::STATE_PAUSED:
      return "paused";
    case control::STATE_RESTARTING:
      return "restarting";
    case control::STATE_REMOVING:
      return "removing";
    case control::STATE_EXITED:
      return "exited";
    default:
      return "dead";
  }
}

bool Up(const control::Container& container) {
  return container.state() == control::STATE_RUNNING || container.state() == control::STATE_PAUSED;
}

std::string StatusWords(const control::Container& container, int64_t now_nanos) {
  int64_t up = (now_nanos - container.started_at()) / 1'000'000'000;
  int64_t ended = (now_nanos - container.finished_at()) / 1'000'000'000;
  switch (container.state()) {
    case control::STATE_CREATED:
      return "Created";
    case control::STATE_RUNNING: {
      std::string words = "Up " + HumanDuration(up);
      const std::string& health = container.health().status();
      if (health == "starting") return words + " (health: starting)";
      return health.empty() ? words : words + " (" + health + ")";
    }
    case control::STATE_PAUSED:
      return "Up " + HumanDuration(up) + " (Paused)";
    case control::STATE_RESTARTING:
      return fmt::format("Restarting ({}) {} ago", container.exit_code(), HumanDuration(ended));
    case control::STATE_REMOVING:
      return "Removal In Progress";
    case control::STATE_EXITED:
      return fmt::format("Exited ({}) {} ago", container.exit_code(), HumanDuration(ended));
    default:
      return "Dead";
  }
}

namespace {

std::string_view ProtocolName(const cri::PortMapping& port) {
  return port.protocol() == cri::UDP ? "udp" : port.protocol() == cri::SCTP ? "sctp" : "tcp";
}

// The command as one line, as docker shows it.
std::string CommandLine(const control::Container& container) {
  std::vector<std::string> words(container.command_line().begin(), container.command_line().end());
  if (words.empty()) {
    words.assign(container.config().command().begin(), container.config().command().end());
    words.insert(words.end(), container.config().args().begin(), container.config().args().end());
  }
  return Join(words, " ");
}

json::array Ports(const Entry& entry) {
  json::array out;
  if (!Up(entry.container)) return out;
  for (const cri::PortMapping& port : entry.pod.ports()) {
    json::object shown = {{"PrivatePort", port.container_port()}, {"Type", View(ProtocolName(port))}};
    if (port.host_port() != 0) {
      shown["IP"] = port.host_ip().empty() ? std::string("0.0.0.0") : port.host_ip();
      shown["PublicPort"] = port.host_port();
    }
    out.push_back(std::move(shown));
  }
  return out;
}

json::array LibpodPorts(const control::Pod& pod) {
  json::array out;
  for (const cri::PortMapping& port : pod.ports()) {
    out.push_back({{"host_ip", port.host_ip()},
                   {"container_port", port.container_port()},
                   {"host_port", port.host_port()},
                   {"range", 1},
                   {"protocol", View(ProtocolName(port))}});
  }
  return out;
}

json::array Mounts(const control::Container& container) {
  json::array out;
  for (const control::NamedVolume& volume : container.volumes()) {
    out.push_back({{"Type", "volume"},
                   {"Name", volume.name()},
                   {"Source", ""},
                   {"Destination", volume.container_path()},
                   {"Driver", "local"},
                   {"Mode", ""},
                   {"RW", !volume.readonly()},
                   {"Propagation", ""}});
  }
  for (const cri::Mount& mount : container.config().mounts()) {
    out.push_back({{"Type", "bind"},
                   {"Source", mount.host_path()},
                   {"Destination", mount.container_path()},
                   {"Mode", ""},
                   {"RW", !mount.readonly()},
                   {"Propagation", mount.propagation() == cri::PROPAGATION_BIDIRECTIONAL ? "rshared" : "rprivate"}});
  }
  return out;
}

bool HostNetwork(const control::Pod& pod) {
  return pod.config().linux().security_context().namespace_options().network() == cri::NODE;
}

}  // namespace

std::string PortKey(const cri::PortMapping& port) {
  return fmt::format("{}/{}", port.container_port(), ProtocolName(port));
}

json::object PortBindings(const control::Pod& pod) {
  json::object out;
  for (const cri::PortMapping& port : pod.ports()) {
    json::value& list = out[PortKey(port)];
    if (!list.is_array()) list.emplace_array();
    list.get_array().push_back({{"HostIp", port.host_ip().empty() ? std::string("0.0.0.0") : port.host_ip()},
                                {"HostPort", std::to_string(port.host_port())}});
  }
  return out;
}

std::string EndpointId(std::string_view pod_id, std::string_view network_id) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < std::min(pod_id.size(), network_id.size()); ++i) {
    size_t one = std::min<size_t>(kDigits.find(pod_id[i]), 15);
    size_t other = std::min<size_t>(kDigits.find(network_id[i]), 15);
    out += kDigits[one ^ other];
  }
  return out;
}

namespace {

json::object NoEndpoint(std::string_view network_id) {
  return {{"IPAMConfig", nullptr},    {"Links", nullptr},      {"Aliases", nullptr},
          {"MacAddress", ""},         {"DriverOpts", nullptr}, {"NetworkID", View(network_id)},
          {"EndpointID", ""},         {"Gateway", ""},         {"IPAddress", ""},
          {"IPPrefixLen", 0},         {"IPv6Gateway", ""},     {"GlobalIPv6Address", ""},
          {"GlobalIPv6PrefixLen", 0}, {"DNSNames", nullptr}};
}

template <class Strings>
void Name(const Entry& entry, const Strings& aliases, bool plain, json::object& endpoint) {
  if (plain) return;  // the default network has no names
  std::string short_id = entry.container.id().substr(0, 12);
  json::array shown = StringArray(aliases);
  json::array names{entry.name};
  for (const std::string& alias : aliases) names.emplace_back(alias);
  // Compose looks for it among the aliases, and connects the container anew when it is not there.
  shown.emplace_back(short_id);
  names.emplace_back(short_id);
  endpoint["Aliases"] = std::move(shown);
  endpoint["DNSNames"] = std::move(names);
}

void Address(const control::NetworkEndpoint& from, json::object& to) {
  for (const std::string& cidr : from.ip_cidrs()) {
    size_t slash = cidr.find('/');
    int64_t prefix = slash == std::string::npos ? 0 : ParseInt64(cidr.substr(slash + 1)).value_or(0);
    bool six = cidr.find(':') != std::string::npos;
    to[six ? "GlobalIPv6Address" : "IPAddress"] = cidr.substr(0, slash);
    to[six ? "GlobalIPv6PrefixLen" : "IPPrefixLen"] = prefix;
  }
  to["MacAddress"] = from.mac_address();
  to["Gateway"] = from.gateway();
}

}  // namespace

json::object NetworkEndpoints(const Entry& entry) {
  json::object out;
  const control::Pod& pod = entry.pod;
  auto begin = [&](const std::string& asked) -> json::object& {
    std::string name = asked.empty() ? std::string("bridge") : asked;
    auto id = pod.network_ids().find(name);
    json::value& place = out[name];
    if (!place.is_object()) place = NoEndpoint(id == pod.network_ids().end() ? name : id->second);
    return place.get_object();
  };
  // Where it is, and, of one that is down, where it will be.
  for (const control::NetworkEndpointConfig& asked : pod.options().networks()) {
    json::object& endpoint = begin(asked.network());
    Name(entry, asked.aliases(), asked.network().empty() || asked.network() == "bridge", endpoint);
    if (asked.ipv4_address().empty() && asked.ipv6_address().empty()) continue;
    json::object ipam;
    if (!asked.ipv4_address().empty()) ipam["IPv4Address"] = asked.ipv4_address();
    if (!asked.ipv6_address().empty()) ipam["IPv6Address"] = asked.ipv6_address();
    endpoint["IPAMConfig"] = std::move(ipam);
  }
  for (const control::NetworkEndpoint& is : pod.networks()) {
    json::object& endpoint = begin(is.network());
    if (endpoint["Aliases"].is_null()) Name(entry, is.aliases(), is.network() == "bridge", endpoint);
    if (!Up(entry.container)) continue;
    Address(is, endpoint);
    auto id = pod.network_ids().find(is.network());
    if (id != pod.network_ids().end()) endpoint["EndpointID"] = EndpointId(pod.id(), id->second);
  }
  if (!out.empty()) return out;
  if (HostNetwork(pod)) {
    out["host"] = NoEndpoint("host");
  } else if (pod.options().no_network()) {
    out["none"] = NoEndpoint("none");
  } else if (pod.standalone()) {
    begin("");
  } else if (pod.ips_size() > 0) {
    json::object endpoint = NoEndpoint("kubernetes");
    endpoint["IPAddress"] = pod.ips(0);
    out["kubernetes"] = std::move(endpoint);
  }
  return out;
}

json::object ContainerSummary(const Entry& entry) {
  const control::Container& container = entry.container;
  std::string mode = "default";
  if (HostNetwork(entry.pod)) mode = "host";
  if (entry.pod.options().no_network()) mode = "none";
  if (entry.pod.networks_size() > 0) mode = entry.pod.networks(0).network();
  std::string names = "/" + entry.name;
  return {{"Id", container.id()},
          {"Names", json::array{names}},
          {"Image", container.image().empty() ? container.image_id() : container.image()},
          {"ImageID", container.image_id()},
          {"Command", CommandLine(container)},
          {"Created", container.created_at() / 1'000'000'000},
          {"Ports", Ports(entry)},
          {"Labels", StringObject(container.config().labels())},
          {"State", View(StateName(container.state()))},
          {"Status", StatusWords(container, WallNanos())},
          {"HostConfig", {{"NetworkMode", mode}}},
          {"NetworkSettings", {{"Networks", NetworkEndpoints(entry)}}},
          {"Mounts", Mounts(container)}};
}

json::object LibpodSummary(const Entry& entry) {
  const control::Container& container = entry.container;
  bool ended = container.state() == control::STATE_EXITED || container.state() == control::STATE_DEAD;
  json::array command = StringArray(container.command_line());
  if (command.empty()) {
    for (const std::string& word : container.config().command()) command.emplace_back(word);
    for (const std::string& word : container.config().args()) command.emplace_back(word);
  }
  json::array mounts;
  for (const control::NamedVolume& volume : container.volumes()) mounts.emplace_back(volume.container_path());
  for (const cri::Mount& mount : container.config().mounts()) mounts.emplace_back(mount.container_path());
  json::array networks;
  for (const auto& place : NetworkEndpoints(entry)) {
    if (!entry.pod.network_ids().contains(std::string(place.key()))) continue;  // the node's own, or none
    networks.emplace_back(place.key() == "bridge" ? json::string_view("podman") : place.key());
  }
  bool in_pod = !entry.pod.implicit() && !entry.pod.id().empty();
  return {{"AutoRemove", container.options().auto_remove()},
          {"Command", std::move(command)},
          {"Created", GoTime(container.created_at())},
          {"CreatedAt", ""},
          {"Exited", ended},
          {"ExitedAt", container.finished_at() == 0 ? int64_t{-62135596800} : container.finished_at() / 1'000'000'000},
          {"ExitCode", container.exit_code()},
          {"Id", container.id()},
          {"Image", container.image()},
          {"ImageID", View(BareDigest(container.image_id()))},
          {"IsInfra", false},
          {"Labels", StringObject(container.config().labels())},
          {"Mounts", std::move(mounts)},
          {"Names", json::array{entry.name}},
          {"Namespaces", json::object()},
          {"Networks", std::move(networks)},
          {"Pid", container.pid()},
          {"Pod", in_pod ? entry.pod.id() : std::string()},
          {"PodName", in_pod ? entry.pod.name() : std::string()},
          {"Ports", LibpodPorts(entry.pod)},
          {"Restarts", container.restart_count()},
          {"Size", nullptr},
          {"StartedAt", container.started_at() == 0 ? int64_t{-62135596800} : container.started_at() / 1'000'000'000},
          {"State", View(StateName(container.state()))},
          {"Status", container.health().status()}};
}

std::string InfraId(const std::string& pod_id) { return std::string(pod_id.rbegin(), pod_id.rend()); }

json::object LibpodInfraSummary(const control::Pod& pod) {
  bool running = pod.ready();
  return {{"AutoRemove", false},
          {"Command", nullptr},
          {"Created", GoTime(pod.created_at())},
          {"CreatedAt", ""},
          {"Exited", !running && pod.started_once()},
          {"ExitedAt", int64_t{-62135596800}},
          {"ExitCode", 0},
          {"Id", InfraId(pod.id())},
          {"Image", "pause"},
          {"ImageID", ""},
          {"IsInfra", true},
          {"Labels", json::object()},
          {"Mounts", json::array()},
          {"Names", json::array{pod.id().substr(0, 12) + "-infra"}},
          {"Namespaces", json::object()},
          {"Networks", json::array()},
          {"Pid", 0},
          {"Pod", pod.id()},
          {"PodName", pod.name()},
          {"Ports", LibpodPorts(pod)},
          {"Restarts", 0},
          {"Size", nullptr},
          {"StartedAt", running ? pod.created_at() / 1'000'000'000 : int64_t{-62135596800}},
          {"State", running              ? "running"
                    : pod.started_once() ? "exited"
                                         : "created"},
          {"Status", ""}};
}

std::string_view PodStateName(const control::Pod& pod, const std::vector<Entry>& members) {
  if (!pod.started_once()) return "Created";
  size_t running = 0;
  size_t paused = 0;
  for (const Entry& entry : members) {
    running += entry.container.state() == control::STATE_RUNNING ? 1 : 0;
    paused += entry.container.state() == control::STATE_PAUSED ? 1 : 0;
  }
  if (!pod.ready()) return "Exited";
  if (members.empty() || running == members.size()) return "Running";
  if (paused == members.size()) return "Paused";
  return "Degraded";
}

}  // namespace davit::api
