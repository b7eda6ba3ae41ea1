#include "network/network_file.h"

#include <algorithm>
#include <cctype>

#include "base/ids.h"
#include "base/strings.h"
#include "oci/json.h"
#include "oci/reflect.h"

namespace davit::network {

BOOST_DESCRIBE_STRUCT(SubnetConfig, (), (subnet, gateway, range_start, range_end))
BOOST_DESCRIBE_STRUCT(NamedNetwork, (),
                      (version, id, name, driver, labels, options, subnets, internal, ipv6, dns, created_at, interface,
                       keep_bridge))

namespace {

namespace json = boost::json;

constexpr size_t kMaxNames = 256;  // labels, and options
constexpr int kMinMtu = 68;        // RFC 791
constexpr int kMaxMtu = 65535;

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-';
}

Result<bool> ParseSwitch(const std::string& name, const std::string& value) {
  for (const char* yes : {"true", "1", "True", "TRUE", "t", "strict"}) {
    if (value == yes) return true;
  }
  for (const char* no : {"false", "0", "False", "FALSE", "f", ""}) {
    if (value == no) return false;
  }
  return InvalidArgument("option " + name + ": \"" + Printable(value) + "\" is neither true nor false");
}

}  // namespace

Result<NetworkOptions> ParseNetworkOptions(const std::map<std::string, std::string>& options) {
  NetworkOptions out;
  for (const auto& [name, value] : options) {
    if (name == "mtu" || name == "com.docker.network.driver.mtu") {
      std::optional<uint64_t> mtu = ParseUint64(value);
      if (!mtu || (*mtu != 0 && (*mtu < kMinMtu || *mtu > kMaxMtu))) {
        return InvalidArgument("option " + name + ": \"" + Printable(value) + "\" is not 68 to 65535");
      }
      out.mtu = static_cast<int>(*mtu);
    } else if (name == "isolate") {
      ASSIGN_OR_RETURN(out.isolate, ParseSwitch(name, value));
    } else if (name == "com.docker.network.bridge.enable_ip_masquerade") {
      ASSIGN_OR_RETURN(out.masquerade, ParseSwitch(name, value));
    } else if (name == "com.docker.network.bridge.enable_icc") {
      ASSIGN_OR_RETURN(bool together, ParseSwitch(name, value));
      if (!together) return InvalidArgument("option " + name + ": containers of one network always reach each other");
    } else if (name == "com.docker.network.bridge.name" || name == "bridge_name") {
      if (!value.empty()) RETURN_IF_ERROR(ValidateLinkName(value, "option " + name));
      out.bridge = value;
    } else if (name == "com.docker.network.bridge.host_binding_ipv4") {
      if (!value.empty() && !Address::Parse(value)) {
        return InvalidArgument("option " + name + ": \"" + Printable(value) + "\" is not an address");
      }
      out.host_ip = value;
    }
  }
  return out;
}

Status ValidateNetworkName(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxNetworkName &&
                    std::isalnum(static_cast<unsigned char>(name.front())) != 0 &&
                    std::all_of(name.begin(), name.end(), IsNameCharacter);
  if (good) return {};
  return InvalidArgument("name \"" + Printable(name) + "\" is not a network's: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most " +
                         std::to_string(kMaxNetworkName));
}

Status ValidateLinkName(std::string_view name, std::string_view field) {
  const bool good = !name.empty() && name.size() <= kMaxLinkName && name != "." && name != ".." && name != "lo" &&
                    std::isalnum(static_cast<unsigned char>(name.front())) != 0 &&
                    std::all_of(name.begin(), name.end(), IsNameCharacter);
  if (good) return {};
  return InvalidArgument(std::string(field) + ": \"" + Printable(name) +
                         "\" is not the name of a link: at most 15 of [a-zA-Z0-9_.-]");
}

Result<SubnetConfig> CompleteSubnet(SubnetConfig subnet) {
  ASSIGN_OR_RETURN(Prefix prefix, Prefix::Parse(subnet.subnet));
  subnet.subnet = prefix.ToString();
  if (prefix.length < 8 || prefix.length > prefix.address.bits() - 2) {
    return InvalidArgument("subnet " + subnet.subnet + " is too large or too small for a network");
  }
  auto inside = [&](std::string& text, const char* what) -> Status {
    std::optional<Address> address = Address::Parse(text);
    if (!address || !prefix.Contains(*address) || *address == prefix.address ||
        (!address->v6 && *address == prefix.Last())) {
      return InvalidArgument(std::string(what) + " \"" + Printable(text) + "\" is no address inside of subnet " +
                             subnet.subnet);
    }
    text = address->ToString();
    return {};
  };
  if (subnet.gateway.empty()) subnet.gateway = prefix.address.Next().ToString();
  RETURN_IF_ERROR(inside(subnet.gateway, "gateway"));
  if (!subnet.range_start.empty()) RETURN_IF_ERROR(inside(subnet.range_start, "range_start"));
  if (!subnet.range_end.empty()) RETURN_IF_ERROR(inside(subnet.range_end, "range_end"));
  if (!subnet.range_start.empty() && !subnet.range_end.empty() &&
      *Address::Parse(subnet.range_end) < *Address::Parse(subnet.range_start)) {
    return InvalidArgument("range_end " + subnet.range_end + " is before range_start " + subnet.range_start);
  }
  return subnet;
}

Result<std::string> ConfigOf(const NamedNetwork& network, const std::string& lease_directory, bool let_through) {
  ASSIGN_OR_RETURN(NetworkOptions options, ParseNetworkOptions(network.options));
  json::object ipam{{"type", "host-local"}, {"dataDir", View(lease_directory)}};
  json::array& ranges = ipam["ranges"].emplace_array();
  json::array routes;
  for (const SubnetConfig& subnet : network.subnets) {
    json::object range{{"subnet", View(subnet.subnet)}, {"gateway", View(subnet.gateway)}};
    if (!subnet.range_start.empty()) range["rangeStart"] = View(subnet.range_start);
    if (!subnet.range_end.empty()) range["rangeEnd"] = View(subnet.range_end);
    ranges.push_back(json::array{std::move(range)});
    const bool v6 = subnet.subnet.find(':') != std::string::npos;
    if (!network.internal) routes.push_back(json::object{{"dst", v6 ? "::/0" : "0.0.0.0/0"}});
  }
  if (!routes.empty()) ipam["routes"] = std::move(routes);
  json::object bridge{{"type", "bridge"},
                      {"bridge", View(network.interface)},
                      {"isGateway", true},
                      {"ipMasq", !network.internal && options.masquerade},
                      {"hairpinMode", true},  // a pod reaches itself by its published port
                      {"capabilities", json::object{{"ips", true}, {"mac", true}}},
                      {"ipam", std::move(ipam)}};
  if (options.mtu > 0) bridge["mtu"] = options.mtu;
  json::array plugins{std::move(bridge)};
  // Nobody outside could reach a port of an internal one.
  if (!network.internal) {
    plugins.push_back(
        json::object{{"type", "portmap"}, {"capabilities", json::object{{"portMappings", true}}}, {"snat", true}});
  }
  if (options.isolate) {
    plugins.push_back(json::object{{"type", "firewall"}, {"ingressPolicy", "same-bridge"}});
  } else if (let_through) {
    plugins.push_back(json::object{{"type", "firewall"}});
  }
  return oci::WriteJson(
      json::object{{"cniVersion", "1.0.0"}, {"name", View(network.name)}, {"plugins", std::move(plugins)}});
}

Result<std::string> NetworkFileText(const NamedNetwork& network) {
  if (network.labels.size() > kMaxNames || network.options.size() > kMaxNames) {
    return InvalidArgument("more than " + std::to_string(kMaxNames) + " labels or options");
  }
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(network.config, kMaxConfigBytes));
  document.as_object()["davit"] = oci::Reflect(network);
  std::string text = oci::WriteJson(document) + "\n";
  if (text.size() > kMaxConfigBytes) return InvalidArgument("labels and options are longer than 1 MiB");
  return text;
}

Result<NamedNetwork> ParseNetworkFile(std::string_view text, std::string_view name) {
  ASSIGN_OR_RETURN(NetworkConfig config, ParseNetworkConfig(text));
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(text, kMaxConfigBytes));
  const json::value* ours = document.as_object().if_contains("davit");
  if (ours == nullptr) return InvalidArgument("it has no member \"davit\": not one of Davit's own");
  ASSIGN_OR_RETURN(NamedNetwork network,
                   oci::RecordFromText<NamedNetwork>(oci::WriteJson(*ours), "network", kNetworkFileVersion));
  RETURN_IF_ERROR(ValidateNetworkName(network.name));
  if (network.name != name || config.name != name) return InvalidArgument("its name is not that of the file");
  if (!IsFullId(network.id)) return InvalidArgument("davit.id is not 64 hex digits");
  RETURN_IF_ERROR(ValidateLinkName(network.interface, "davit.interface"));
  RETURN_IF_ERROR(ParseNetworkOptions(network.options).status());
  if (network.subnets.empty()) return InvalidArgument("davit.subnets is empty");
  for (SubnetConfig& subnet : network.subnets) {
    ASSIGN_OR_RETURN(subnet, CompleteSubnet(subnet));
  }
  network.config = config.ToJson();
  return network;
}

Result<NetworkConfig> ConfigForPod(const NamedNetwork& network, bool with_ports, bool with_routes) {
  ASSIGN_OR_RETURN(NetworkConfig config, ParseNetworkConfig(network.config));
  if (!with_ports) config = config.Without("portmap");
  if (with_routes) return config;
  for (PluginConfig& plugin : config.plugins) {
    ASSIGN_OR_RETURN(json::value document, oci::ParseJson(plugin.json, kMaxConfigBytes));
    json::value* ipam = document.is_object() ? document.as_object().if_contains("ipam") : nullptr;
    if (ipam == nullptr || !ipam->is_object() || ipam->as_object().erase("routes") == 0) continue;
    plugin.json = oci::WriteJson(document);
  }
  return config;
}

}  // namespace davit::network
