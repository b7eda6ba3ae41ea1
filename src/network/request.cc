#include "network/request.h"

#include <arpa/inet.h>

#include <cmath>
#include <set>
#include <tuple>

#include "base/strings.h"
#include "oci/json.h"

namespace davit::network {
namespace {

namespace json = boost::json;

constexpr std::string_view kIngress = "kubernetes.io/ingress-bandwidth";
constexpr std::string_view kEgress = "kubernetes.io/egress-bandwidth";
constexpr uint64_t kMaxBandwidth = uint64_t{1} << 50;
// The bucket that the bandwidth plugin gets: the largest that its 32-bit field takes with room to spare.
constexpr int64_t kBurstBits = 0x7fffffff;

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

bool IsAddress(const std::string& text) {
  in6_addr buffer{};
  if (text.find('\0') != std::string::npos) return false;  // inet_pton would stop there
  return ::inet_pton(AF_INET, text.c_str(), &buffer) == 1 || ::inet_pton(AF_INET6, text.c_str(), &buffer) == 1;
}

// Every address: what no host_ip means too. A rule for the destination 0.0.0.0 would match nothing.
bool IsUnspecified(const std::string& ip) { return ip.empty() || ip == "0.0.0.0" || ip == "::"; }

std::string PortMappingsJson(const std::vector<PortMapping>& ports) {
  json::array list;
  for (const PortMapping& port : ports) {
    json::object entry;
    entry["hostPort"] = port.host_port;
    entry["containerPort"] = port.container_port;
    entry["protocol"] = View(ProtocolName(port.protocol));
    if (!IsUnspecified(port.host_ip)) entry["hostIP"] = View(port.host_ip);
    list.emplace_back(std::move(entry));
  }
  return oci::WriteJson(list);
}

Result<std::string> BandwidthJson(const std::map<std::string, std::string>& annotations) {
  json::object limits;
  for (const auto& [annotation, prefix] : {std::pair(kIngress, "ingress"), std::pair(kEgress, "egress")}) {
    auto it = annotations.find(std::string(annotation));
    if (it == annotations.end()) continue;
    std::optional<uint64_t> rate = ParseBandwidth(it->second);
    if (!rate) {
      return InvalidArgument("annotation " + std::string(annotation) + ": \"" + Printable(it->second) +
                             "\" is not a bandwidth");
    }
    limits[std::string(prefix) + "Rate"] = *rate;
    limits[std::string(prefix) + "Burst"] = kBurstBits;
  }
  return limits.empty() ? std::string() : oci::WriteJson(limits);
}

// The factor of a quantity's suffix; nullopt when it is none.
std::optional<double> SuffixFactor(std::string_view suffix) {
  static const std::map<std::string, double, std::less<>> factors = {
      {"", 1},     {"m", 1e-3},    {"k", 1e3},        {"M", 1e6},           {"G", 1e9},     {"T", 1e12},
      {"P", 1e15}, {"Ki", 1024.0}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 0x1p40}, {"Pi", 0x1p50}};
  if (auto it = factors.find(suffix); it != factors.end()) return it->second;
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return std::nullopt;
  auto exponent = ParseInt64(suffix.substr(1));
  if (!exponent || *exponent < -18 || *exponent > 18) return std::nullopt;
  return std::pow(10.0, static_cast<double>(*exponent));
}

}  // namespace

Result<std::vector<PortMapping>> HostPorts(const std::vector<PortMapping>& ports) {
  if (ports.size() > kMaxPorts) {
    return InvalidArgument(std::to_string(ports.size()) + " port mappings are more than " + std::to_string(kMaxPorts));
  }
  std::vector<PortMapping> mapped;
  std::set<std::tuple<Protocol, int, std::string>> taken;
  for (const PortMapping& port : ports) {
    if (port.container_port < 1 || port.container_port > 65535) {
      return InvalidArgument("container port " + std::to_string(port.container_port) + " is not a port");
    }
    if (port.host_port < 0 || port.host_port > 65535) {
      return InvalidArgument("host port " + std::to_string(port.host_port) + " is not a port");
    }
    if (!port.host_ip.empty() && !IsAddress(port.host_ip)) {
      return InvalidArgument("host address \"" + Printable(port.host_ip) + "\" of host port " +
                             std::to_string(port.host_port) + " is not an IP address");
    }
    if (port.host_port == 0) continue;
    std::string ip = IsUnspecified(port.host_ip) ? "" : port.host_ip;
    if (!taken.emplace(port.protocol, port.host_port, ip).second) {
      return InvalidArgument("host port " + std::to_string(port.host_port) + "/" +
                             std::string(ProtocolName(port.protocol)) + " is asked for twice");
    }
    mapped.push_back(port);
  }
  return mapped;
}

Result<std::string> CniArgs(const NetworkRequest& request) {
  std::string args = "IgnoreUnknown=1";
  const std::pair<const char*, const std::string&> values[] = {{"K8S_POD_NAMESPACE", request.namespace_},
                                                               {"K8S_POD_NAME", request.name},
                                                               {"K8S_POD_INFRA_CONTAINER_ID", request.pod.str()},
                                                               {"K8S_POD_UID", request.uid}};
  for (const auto& [key, value] : values) {
    for (unsigned char c : value) {
      if (c == ';' || c == '=' || c < 0x20 || c == 0x7f) {
        return InvalidArgument(std::string(key) + " \"" + Printable(value) +
                               "\" holds a character that CNI_ARGS cannot carry");
      }
    }
    if (value.size() > 1024) return InvalidArgument(std::string(key) + " is longer than 1024 bytes");
    args += ";" + std::string(key) + "=" + value;
  }
  return args;
}

std::optional<uint64_t> ParseBandwidth(std::string_view text) {
  size_t end = 0;
  while (end < text.size() && (text[end] == '.' || (text[end] >= '0' && text[end] <= '9'))) ++end;
  std::vector<std::string> parts = Split(text.substr(0, end), '.');
  if (end > 32 || parts.size() > 2) return std::nullopt;
  if (parts[0].empty() && (parts.size() == 1 || parts[1].empty())) return std::nullopt;
  std::optional<double> factor = SuffixFactor(text.substr(end));
  if (!factor) return std::nullopt;
  double value = 0;
  for (char c : parts[0]) value = value * 10 + (c - '0');
  double scale = 1;
  for (char c : parts.size() == 2 ? parts[1] : std::string()) value += (c - '0') * (scale /= 10);
  value = std::ceil(value * *factor);  // Quantity.Value() rounds up
  if (!(value >= 1) || value > static_cast<double>(kMaxBandwidth)) return std::nullopt;
  return static_cast<uint64_t>(value);
}

Result<std::map<std::string, std::string>> CapabilityArgs(const NetworkRequest& request,
                                                          const std::vector<PortMapping>& host_ports) {
  std::map<std::string, std::string> args;
  if (!host_ports.empty()) args["portMappings"] = PortMappingsJson(host_ports);
  ASSIGN_OR_RETURN(std::string bandwidth, BandwidthJson(request.annotations));
  if (!bandwidth.empty()) args["bandwidth"] = std::move(bandwidth);
  if (!request.cgroup_path.empty()) args["cgroupPath"] = oci::QuoteJson(request.cgroup_path);
  if (!request.annotations.empty()) {
    json::object annotations;
    for (const auto& [key, value] : request.annotations) annotations[View(key)] = View(value);
    args["io.kubernetes.cri.pod-annotations"] = oci::WriteJson(annotations);
  }
  return args;
}

}  // namespace davit::network
