#include "base/strings.h"
#include "network/network.h"
#include "oci/json.h"

namespace davit::network {
namespace {

namespace json = boost::json;

constexpr size_t kMaxAttachmentBytes = 8u << 20;
constexpr int64_t kOneNetwork = 1;
constexpr int64_t kEndpoints = 2;
constexpr size_t kMaxEndpoints = 64;

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

Result<Protocol> ParseProtocol(const oci::JsonNode& node) {
  ASSIGN_OR_RETURN(std::string name, node.String());
  for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    if (name == ProtocolName(protocol)) return protocol;
  }
  return node.Error("\"" + Printable(name) + "\" is not a protocol");
}

Result<int> ParsePort(const oci::JsonNode& node) {
  ASSIGN_OR_RETURN(int64_t port, node.Int64());
  if (port < 1 || port > 65535) return node.Error("is not a port");
  return static_cast<int>(port);
}

json::array ToArray(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.emplace_back(View(text));
  return array;
}

json::object ToObject(const EndpointAttachment& endpoint) {
  json::object object{{"network", View(endpoint.network)},
                      {"interface", View(endpoint.interface)},
                      {"config", View(endpoint.config)},
                      {"result", View(endpoint.result)}};
  if (!endpoint.addresses.empty()) object["addresses"] = ToArray(endpoint.addresses);
  if (!endpoint.mac.empty()) object["mac"] = View(endpoint.mac);
  if (endpoint.publishes) object["publishes"] = true;
  if (endpoint.leaving) object["leaving"] = true;
  if (endpoint.dns) object["dns"] = true;
  if (endpoint.builtin) object["builtin"] = true;
  return object;
}

Result<EndpointAttachment> ParseEndpoint(const oci::JsonNode& node) {
  EndpointAttachment endpoint;
  ASSIGN_OR_RETURN(endpoint.network, node.Key("network").String());
  ASSIGN_OR_RETURN(endpoint.interface, node.Key("interface").String());
  ASSIGN_OR_RETURN(endpoint.config, node.Key("config").String());
  if (endpoint.config.empty()) return node.Key("config").Error("is empty");
  ASSIGN_OR_RETURN(endpoint.result, node.Key("result").StringOr(""));
  ASSIGN_OR_RETURN(endpoint.addresses, node.Key("addresses").Strings(16));
  ASSIGN_OR_RETURN(endpoint.mac, node.Key("mac").StringOr(""));
  ASSIGN_OR_RETURN(endpoint.publishes, node.Key("publishes").BoolOr(false));
  ASSIGN_OR_RETURN(endpoint.leaving, node.Key("leaving").BoolOr(false));
  ASSIGN_OR_RETURN(endpoint.dns, node.Key("dns").BoolOr(false));
  ASSIGN_OR_RETURN(endpoint.builtin, node.Key("builtin").BoolOr(false));
  return endpoint;
}

}  // namespace

std::string_view ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kUdp:
      return "udp";
    case Protocol::kSctp:
      return "sctp";
    case Protocol::kTcp:
      break;
  }
  return "tcp";
}

std::string Attachment::ToJson() const {
  json::object object;
  object["version"] = endpoints.empty() ? kOneNetwork : kEndpoints;
  if (endpoints.empty()) {
    object["config"] = View(config);
    object["result"] = View(result);
    if (builtin) object["builtin"] = true;
  }
  object["ips"] = ToArray(ips);
  json::array& mappings = object["ports"].emplace_array();
  for (const PortMapping& port : ports) {
    json::object entry;
    entry["protocol"] = View(ProtocolName(port.protocol));
    entry["containerPort"] = port.container_port;
    entry["hostPort"] = port.host_port;
    if (!port.host_ip.empty()) entry["hostIp"] = View(port.host_ip);
    mappings.emplace_back(std::move(entry));
  }
  if (!endpoints.empty()) {
    json::array& list = object["endpoints"].emplace_array();
    for (const EndpointAttachment& endpoint : endpoints) list.emplace_back(ToObject(endpoint));
  }
  return oci::WriteJson(object);
}

Result<Attachment> Attachment::Parse(std::string_view text) {
  Attachment attachment;
  if (text.empty()) return attachment;
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(text, kMaxAttachmentBytes));
  oci::JsonNode root(document, "network attachment");
  ASSIGN_OR_RETURN(int64_t version, root.Key("version").Int64());
  if (version != kOneNetwork && version != kEndpoints) return root.Key("version").Error("is not known");
  ASSIGN_OR_RETURN(attachment.config, root.Key("config").StringOr(""));
  ASSIGN_OR_RETURN(attachment.result, root.Key("result").StringOr(""));
  ASSIGN_OR_RETURN(attachment.builtin, root.Key("builtin").BoolOr(false));
  ASSIGN_OR_RETURN(attachment.ips, root.Key("ips").Strings());
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> ports, root.Key("ports").Elements());
  for (const oci::JsonNode& node : ports) {
    PortMapping port;
    ASSIGN_OR_RETURN(port.protocol, ParseProtocol(node.Key("protocol")));
    ASSIGN_OR_RETURN(port.container_port, ParsePort(node.Key("containerPort")));
    ASSIGN_OR_RETURN(port.host_port, ParsePort(node.Key("hostPort")));
    ASSIGN_OR_RETURN(port.host_ip, node.Key("hostIp").StringOr(""));
    attachment.ports.push_back(std::move(port));
  }
  if (version == kOneNetwork) return attachment;
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> endpoints, root.Key("endpoints").Elements(kMaxEndpoints));
  for (const oci::JsonNode& node : endpoints) {
    ASSIGN_OR_RETURN(EndpointAttachment endpoint, ParseEndpoint(node));
    attachment.endpoints.push_back(std::move(endpoint));
  }
  if (attachment.endpoints.empty()) return root.Key("endpoints").Error("is empty");
  return attachment;
}

}  // namespace davit::network
