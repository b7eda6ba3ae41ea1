#include "network/builtin_chain.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/strings.h"
#include "oci/json.h"

namespace davit::network {
namespace {

namespace json = boost::json;

constexpr size_t kMaxLinkBytes = 15;

// A plugin's input, with what its members may be.
Status CheckMembers(const oci::JsonNode& plugin, const std::set<std::string>& known) {
  static const std::set<std::string> common = {"cniVersion", "name", "type", "runtimeConfig"};
  ASSIGN_OR_RETURN(std::vector<std::string> keys, plugin.Keys(256));
  for (const std::string& key : keys) {
    if (common.count(key) == 0 && known.count(key) == 0)
      return plugin.Error("member " + Printable(key) + " is not known");
  }
  return {};
}

bool IsLinkName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxLinkBytes && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '/' && c != ':'; });
}

// The members of "dns" that hold something, in the order of the plugins' own results.
Result<std::string> ReadDns(const oci::JsonNode& node) {
  if (!node.present()) return std::string();
  json::object dns;
  ASSIGN_OR_RETURN(std::vector<std::string> keys, node.Keys(8));
  for (const std::string& key : keys) {
    if (key == "domain") {
      ASSIGN_OR_RETURN(std::string domain, node.Key(key).StringOr(""));
      if (!domain.empty()) dns[key] = domain;
    } else if (key == "nameservers" || key == "search" || key == "options") {
      ASSIGN_OR_RETURN(std::vector<std::string> values, node.Key(key).Strings(64));
      json::array list;
      for (const std::string& value : values) list.emplace_back(value);
      if (!list.empty()) dns[key] = std::move(list);
    } else {
      return node.Error("member " + Printable(key) + " is not known");
    }
  }
  return dns.empty() ? std::string() : oci::WriteJson(dns);
}

Status ReadBridge(const oci::JsonNode& plugin, const std::string& network, BuiltinChain& chain) {
  RETURN_IF_ERROR(
      CheckMembers(plugin, {"bridge", "isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "mtu", "hairpinMode",
                            "promiscMode", "vlan", "macspoofchk", "enabledad", "ipam", "dns"}));
  BridgeSettings& bridge = chain.bridge;
  ASSIGN_OR_RETURN(bridge.name, plugin.Key("bridge").StringOr("cni0"));
  if (!IsLinkName(bridge.name)) return plugin.Key("bridge").Error("is not the name of a link");
  for (const auto& [key, to] : {std::pair("isGateway", &bridge.gateway),
                                {"isDefaultGateway", &bridge.default_gateway},
                                {"forceAddress", &bridge.force_address},
                                {"ipMasq", &bridge.masquerade},
                                {"hairpinMode", &bridge.hairpin},
                                {"promiscMode", &bridge.promiscuous}}) {
    ASSIGN_OR_RETURN(*to, plugin.Key(key).BoolOr(false));
  }
  for (const char* key : {"macspoofchk", "enabledad"}) {
    ASSIGN_OR_RETURN(bool on, plugin.Key(key).BoolOr(false));
    if (on) return plugin.Key(key).Error("is left to the plugin");
  }
  ASSIGN_OR_RETURN(int64_t vlan, plugin.Key("vlan").Int64Or(0));
  if (vlan != 0) return plugin.Key("vlan").Error("is left to the plugin");
  if (bridge.hairpin && bridge.promiscuous) return plugin.Error("cannot be hairpin and promiscuous");
  bridge.gateway = bridge.gateway || bridge.default_gateway;
  ASSIGN_OR_RETURN(int64_t mtu, plugin.Key("mtu").Int64Or(0));
  if (mtu < 0 || mtu > 65535) return plugin.Key("mtu").Error("is out of range");
  bridge.mtu = static_cast<int>(mtu);
  ASSIGN_OR_RETURN(bridge.dns, ReadDns(plugin.Key("dns")));
  const oci::JsonNode runtime = plugin.Key("runtimeConfig");
  ASSIGN_OR_RETURN(bridge.mac, runtime.Key("mac").StringOr(""));
  if (!bridge.mac.empty() && !IsMacAddress(bridge.mac)) return runtime.Key("mac").Error("is no MAC address");
  const oci::JsonNode ipam = plugin.Key("ipam");
  ASSIGN_OR_RETURN(std::string type, ipam.Key("type").StringOr(""));
  if (type != "host-local") return ipam.Error("is of another type than host-local");
  ASSIGN_OR_RETURN(chain.leases, ReadLeaseConfig(ipam, network, runtime.Key("ipRanges"), runtime.Key("ips")));
  return {};
}

Result<PortMapping> ReadMapping(const oci::JsonNode& node) {
  PortMapping port;
  ASSIGN_OR_RETURN(std::string protocol, node.Key("protocol").StringOr(""));
  bool known = false;
  for (Protocol one : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    if (protocol != ProtocolName(one)) continue;
    port.protocol = one;
    known = true;
  }
  ASSIGN_OR_RETURN(int64_t host, node.Key("hostPort").Int64());
  ASSIGN_OR_RETURN(int64_t inside, node.Key("containerPort").Int64());
  ASSIGN_OR_RETURN(port.host_ip, node.Key("hostIP").StringOr(""));
  if (!known || host < 1 || host > 65535 || inside < 1 || inside > 65535) return node.Error("is no port mapping");
  if (!port.host_ip.empty() && !Address::Parse(port.host_ip)) return node.Error("is of no address");
  port.host_port = static_cast<int>(host);
  port.container_port = static_cast<int>(inside);
  return port;
}

Status ReadPortmap(const oci::JsonNode& plugin, BuiltinChain& chain) {
  RETURN_IF_ERROR(CheckMembers(plugin, {"snat", "markMasqBit", "conditionsV4", "conditionsV6"}));
  if (chain.ports) return plugin.Error("is there twice");
  PortSettings ports;
  ASSIGN_OR_RETURN(ports.snat, plugin.Key("snat").BoolOr(true));
  ASSIGN_OR_RETURN(int64_t bit, plugin.Key("markMasqBit").Int64Or(13));
  if (bit != 13) return plugin.Key("markMasqBit").Error("other than 13 is left to the plugin");
  for (const char* key : {"conditionsV4", "conditionsV6"}) {
    ASSIGN_OR_RETURN(std::vector<std::string> conditions, plugin.Key(key).Strings(256));
    if (!conditions.empty()) return plugin.Key(key).Error("are left to the plugin");
  }
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> nodes, plugin.Key("runtimeConfig").Key("portMappings").Elements());
  for (const oci::JsonNode& node : nodes) {
    ASSIGN_OR_RETURN(PortMapping port, ReadMapping(node));
    ports.mappings.push_back(std::move(port));
  }
  chain.ports = std::move(ports);
  return {};
}

Status ReadTuning(const oci::JsonNode& plugin, BuiltinChain& chain) {
  RETURN_IF_ERROR(CheckMembers(plugin, {"sysctl", "mac", "mtu", "promisc", "allmulti", "dataDir"}));
  ASSIGN_OR_RETURN(std::string mac, plugin.Key("mac").StringOr(""));
  ASSIGN_OR_RETURN(std::string asked, plugin.Key("runtimeConfig").Key("mac").StringOr(""));
  ASSIGN_OR_RETURN(int64_t mtu, plugin.Key("mtu").Int64Or(0));
  ASSIGN_OR_RETURN(bool promiscuous, plugin.Key("promisc").BoolOr(false));
  if (!mac.empty() || !asked.empty() || mtu != 0 || promiscuous || plugin.Key("allmulti").present()) {
    return plugin.Error("changes of the link are left to the plugin");
  }
  ASSIGN_OR_RETURN(auto sysctls, plugin.Key("sysctl").StringMap(256));
  for (const auto& [name, value] : sysctls) {
    std::string path = name;
    const bool plain = std::all_of(path.begin(), path.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
    });
    // A slash would keep the dots of a link's name; those below net alone belong to the pod.
    if (!plain || path.rfind("net.", 0) != 0 || path.find("..") != std::string::npos || path.back() == '.') {
      return plugin.Key("sysctl").Error("\"" + Printable(name) + "\" is left to the plugin");
    }
    std::replace(path.begin(), path.end(), '.', '/');
    chain.sysctls.emplace_back(std::move(path), value);
  }
  return {};
}

// Without limits the plugin hands on what it gets.
Status ReadBandwidth(const oci::JsonNode& plugin) {
  RETURN_IF_ERROR(CheckMembers(plugin, {"ingressRate", "ingressBurst", "egressRate", "egressBurst"}));
  const oci::JsonNode asked = plugin.Key("runtimeConfig").Key("bandwidth");
  for (const oci::JsonNode& limits : {plugin, asked}) {
    for (const char* key : {"ingressRate", "ingressBurst", "egressRate", "egressBurst"}) {
      ASSIGN_OR_RETURN(uint64_t value, limits.Key(key).Uint64Or(0));
      if (value != 0) return limits.Error("limits of bandwidth are left to the plugin");
    }
  }
  return {};
}

}  // namespace

Result<BuiltinChain> ReadChain(const NetworkConfig& config, const PluginContext& context) {
  if (!VersionAtLeast(config.cni_version, "0.3.0") || VersionAtLeast(config.cni_version, "1.1.0")) {
    return InvalidArgument("version " + config.cni_version + " is left to the plugins");
  }
  // Addresses in CNI_ARGS are the old way of asking for them.
  for (const std::string& arg : Split(context.args, ';')) {
    if (arg.rfind("IP=", 0) == 0 || arg.rfind("MAC=", 0) == 0 || arg.rfind("GATEWAY=", 0) == 0) {
      return InvalidArgument("CNI_ARGS with addresses are left to the plugins");
    }
  }
  if (!IsLinkName(context.interface)) return InvalidArgument("interface \"" + Printable(context.interface) + "\"");
  BuiltinChain chain;
  chain.cni_version = config.cni_version;
  for (size_t i = 0; i < config.plugins.size(); ++i) {
    const std::string& type = config.plugins[i].type;
    if ((type == "bridge") != (i == 0)) return InvalidArgument("a bridge first, and only one, is what davitd makes");
    ASSIGN_OR_RETURN(std::string input, PluginInput(config, i, context.capability_args, ""));
    ASSIGN_OR_RETURN(json::value document, oci::ParseJson(input, kMaxConfigBytes));
    const oci::JsonNode plugin(document, "plugin " + type);
    if (type == "bridge") {
      RETURN_IF_ERROR(ReadBridge(plugin, config.name, chain));
    } else if (type == "portmap") {
      RETURN_IF_ERROR(ReadPortmap(plugin, chain));
    } else if (type == "tuning") {
      RETURN_IF_ERROR(ReadTuning(plugin, chain));
    } else if (type == "bandwidth") {
      RETURN_IF_ERROR(ReadBandwidth(plugin));
    } else if (type != "loopback") {
      return InvalidArgument("plugin " + type + " is left to itself");
    }
  }
  return chain;
}

}  // namespace davit::network
