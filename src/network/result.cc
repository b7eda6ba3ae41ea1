#include "network/result.h"

#include <arpa/inet.h>
#include <dirent.h>

#include <algorithm>
#include <memory>

#include "base/strings.h"
#include "network/config.h"
#include "network/network.h"
#include "network/prefix.h"
#include "oci/json.h"
#include "sys/unique_fd.h"

namespace davit::network {
namespace {

namespace json = boost::json;

constexpr size_t kMaxErrorText = 4096;

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// 4 or 6, or 0 when it is no address.
int AddressFamily(const std::string& address) {
  in6_addr buffer{};
  // inet_pton stops at a NUL, and what follows one would be taken for a part of the address.
  if (address.find('\0') != std::string::npos) return 0;
  if (::inet_pton(AF_INET, address.c_str(), &buffer) == 1) return 4;
  if (::inet_pton(AF_INET6, address.c_str(), &buffer) == 1) return 6;
  return 0;
}

// "10.0.0.5/24" without its prefix length.
Result<std::string> BareAddress(const oci::JsonNode& node) {
  ASSIGN_OR_RETURN(std::string text, node.String());
  std::string address = text.substr(0, text.find('/'));
  if (AddressFamily(address) == 0) return node.Error("\"" + Printable(text) + "\" is not an address");
  return address;
}

void AddOnce(std::vector<std::string>& ips, std::string address) {
  if (std::find(ips.begin(), ips.end(), address) == ips.end()) ips.push_back(std::move(address));
}

// Whether entry `ip` of "ips" lies inside the pod: it names no interface, or one with a sandbox.
Result<bool> InsidePod(const oci::JsonNode& ip, const std::vector<oci::JsonNode>& interfaces) {
  if (!ip.Key("interface").present()) return true;
  ASSIGN_OR_RETURN(int64_t index, ip.Key("interface").Int64());
  // -1 and past the end are written by some plugins for "not known".
  if (index < 0 || static_cast<uint64_t>(index) >= interfaces.size()) return true;
  ASSIGN_OR_RETURN(std::string sandbox, interfaces[static_cast<size_t>(index)].Key("sandbox").StringOr(""));
  return !sandbox.empty();
}

enum class Shape { kIp4Ip6, kIpsWithVersion, kIps };

Shape ShapeOf(std::string_view cni_version) {
  if (VersionAtLeast(cni_version, "1.0.0")) return Shape::kIps;
  return VersionAtLeast(cni_version, "0.3.0") ? Shape::kIpsWithVersion : Shape::kIp4Ip6;
}

// 0.2.0 -> later: ip4 and ip6 become ips, and their routes those of the result.
void SpreadOldShape(json::object& result) {
  json::array ips;
  json::array routes;
  for (const char* key : {"ip4", "ip6"}) {
    json::value* old = result.if_contains(key);
    if (old == nullptr || !old->is_object()) continue;
    json::object entry;
    if (const json::value* ip = old->get_object().if_contains("ip")) entry["address"] = *ip;
    if (const json::value* gateway = old->get_object().if_contains("gateway")) entry["gateway"] = *gateway;
    ips.push_back(std::move(entry));
    if (const json::value* list = old->get_object().if_contains("routes"); list != nullptr && list->is_array()) {
      for (const json::value& route : list->get_array()) routes.push_back(route);
    }
  }
  result.erase("ip4");
  result.erase("ip6");
  result["ips"] = std::move(ips);
  if (!routes.empty()) result["routes"] = std::move(routes);
}

int EntryFamily(const json::value& entry) {
  const json::value* address = entry.is_object() ? entry.get_object().if_contains("address") : nullptr;
  if (address == nullptr || !address->is_string()) return 0;
  std::string text(address->get_string().data(), address->get_string().size());
  return AddressFamily(text.substr(0, text.find('/')));
}

// Later -> 0.2.0: the first address of each family.
void GatherOldShape(json::object& result) {
  json::value* ips = result.if_contains("ips");
  if (ips != nullptr && ips->is_array()) {
    for (const json::value& entry : ips->get_array()) {
      int family = EntryFamily(entry);
      const char* key = family == 4 ? "ip4" : "ip6";
      if (family == 0 || result.contains(key)) continue;
      json::object old;
      old["ip"] = entry.get_object().at("address");
      if (const json::value* gateway = entry.get_object().if_contains("gateway")) old["gateway"] = *gateway;
      result[key] = std::move(old);
    }
  }
  result.erase("ips");
  result.erase("interfaces");
  result.erase("routes");
}

}  // namespace

Result<CniResult> ParseCniResult(std::string_view text) {
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(text, kMaxResultBytes));
  oci::JsonNode root(document, "plugin result");
  if (!root.is_object()) return root.Error("expected an object");
  CniResult result;
  ASSIGN_OR_RETURN(result.cni_version, root.Key("cniVersion").StringOr(""));
  for (const char* key : {"ip4", "ip6"}) {
    if (!root.Key(key).present()) continue;
    ASSIGN_OR_RETURN(std::string address, BareAddress(root.Key(key).Key("ip")));
    AddOnce(result.ips, std::move(address));
  }
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> interfaces, root.Key("interfaces").Elements(1024));
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> ips, root.Key("ips").Elements(kMaxResultAddresses));
  for (const oci::JsonNode& ip : ips) {
    ASSIGN_OR_RETURN(std::string address, BareAddress(ip.Key("address")));
    ASSIGN_OR_RETURN(bool inside, InsidePod(ip, interfaces));
    if (inside) AddOnce(result.ips, std::move(address));
  }
  return result;
}

Result<std::string> ConvertCniResult(std::string_view text, std::string_view cni_version) {
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(text, kMaxResultBytes));
  if (!document.is_object()) return InvalidArgument("plugin result: expected an object");
  json::object& result = document.get_object();
  Shape shape = ShapeOf(cni_version);
  bool old = result.contains("ip4") || result.contains("ip6");
  if (old && shape != Shape::kIp4Ip6) SpreadOldShape(result);
  if (!old && shape == Shape::kIp4Ip6) GatherOldShape(result);
  if (json::value* ips = result.if_contains("ips"); ips != nullptr && ips->is_array()) {
    for (json::value& entry : ips->get_array()) {
      int family = EntryFamily(entry);
      if (family == 0) continue;
      if (shape == Shape::kIps) entry.get_object().erase("version");
      if (shape == Shape::kIpsWithVersion) entry.get_object()["version"] = family == 4 ? "4" : "6";
    }
  }
  result["cniVersion"] = View(cni_version);
  return oci::WriteJson(document);
}

EndpointAddresses AddressesOf(const EndpointAttachment& endpoint) {
  EndpointAddresses out;
  auto document = oci::ParseJson(endpoint.result, kMaxResultBytes);
  if (endpoint.result.empty() || !document.ok()) return out;
  oci::JsonNode root(*document, "plugin result");
  auto interfaces = root.Key("interfaces").Elements(1024);
  auto ips = root.Key("ips").Elements(kMaxResultAddresses);
  if (!interfaces.ok() || !ips.ok()) return out;
  for (const oci::JsonNode& ip : *ips) {
    if (!InsidePod(ip, *interfaces).value_or(false)) continue;
    std::string cidr = ip.Key("address").StringOr("").value_or("");
    if (Prefix::Parse(cidr).ok()) out.ip_cidrs.push_back(std::move(cidr));
    std::string gateway = ip.Key("gateway").StringOr("").value_or("");
    if (out.gateway.empty() && Address::Parse(gateway)) out.gateway = std::move(gateway);
  }
  for (const oci::JsonNode& interface : *interfaces) {
    if (interface.Key("name").StringOr("").value_or("") != endpoint.interface) continue;
    if (interface.Key("sandbox").StringOr("").value_or("").empty()) continue;
    std::string mac = interface.Key("mac").StringOr("").value_or("");
    if (IsMacAddress(mac)) out.mac = std::move(mac);
  }
  return out;
}

std::string ResultFromLeases(const NetworkConfig& config, const std::string& container_id,
                             const std::string& interface) {
  constexpr size_t kMaxLeases = 1u << 20;
  json::array ips;
  for (const PluginConfig& plugin : config.plugins) {
    auto document = oci::ParseJson(plugin.json, kMaxConfigBytes);
    if (!document.ok()) continue;
    oci::JsonNode ipam = oci::JsonNode(*document, "plugin").Key("ipam");
    const std::string data = ipam.Key("dataDir").StringOr("").value_or("");
    if (data.empty() || ipam.Key("type").StringOr("").value_or("") != "host-local") continue;
    const std::string directory = data + "/" + config.name;
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
    for (size_t seen = 0; dir && seen < kMaxLeases; ++seen) {
      const dirent* entry = ::readdir(dir.get());
      if (entry == nullptr) break;
      const std::optional<Address> address = Address::Parse(entry->d_name);
      if (!address) continue;
      auto lease = sys::ReadFile(directory + "/" + entry->d_name, 4096);
      if (!lease.ok()) continue;
      // Two lines: the container and its interface.
      const std::vector<std::string> lines = Split(Trim(*lease), '\n');
      if (Trim(lines[0]) != container_id || (lines.size() > 1 && Trim(lines[1]) != interface)) continue;
      const int bits = address->bits();
      ips.push_back(json::object{{"address", address->ToString() + "/" + std::to_string(bits)}, {"interface", 0}});
    }
  }
  if (ips.empty()) return "";
  return oci::WriteJson(
      json::object{{"cniVersion", View(config.cni_version)},
                   {"interfaces", json::array{json::object{{"name", View(interface)}, {"sandbox", "/gone"}}}},
                   {"ips", std::move(ips)}});
}

Status ParseCniError(std::string_view text) {
  auto document = oci::ParseJson(text, kMaxResultBytes);
  if (!document.ok()) return {};
  oci::JsonNode root(*document, "plugin error");
  auto code = root.Key("code").Int64Or(0);
  auto message = root.Key("msg").StringOr("");
  auto details = root.Key("details").StringOr("");
  if (!code.ok() || !message.ok() || !details.ok() || (*code == 0 && message->empty())) return {};
  std::string what = Printable(*message, kMaxErrorText);
  if (what.empty()) what = "error " + std::to_string(*code);
  if (!details->empty()) what += ": " + Printable(*details, kMaxErrorText);
  switch (*code) {
    case 1:
    case 2:
    case 7:
      return FailedPrecondition(std::move(what));
    case 3:
      return NotFound(std::move(what));
    case 11:
    case 50:
    case 51:
      return Unavailable(std::move(what));
    default:
      return Internal(std::move(what));
  }
}

}  // namespace davit::network
