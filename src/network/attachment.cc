#include "base/strings.h"
#include "network/network.h"
#include "oci/json.h"

namespace davit::network {
namespace {

namespace json = boost::json;

constexpr size_t kMaxAttachmentBytes = 8u << 20;
constexpr int64_t kVersion = 1;

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
  object["version"] = kVersion;
  object["config"] = View(config);
  object["result"] = View(result);
  json::array& addresses = object["ips"].emplace_array();
  for (const std::string& ip : ips) addresses.emplace_back(View(ip));
  json::array& mappings = object["ports"].emplace_array();
  for (const PortMapping& port : ports) {
    json::object entry;
    entry["protocol"] = View(ProtocolName(port.protocol));
    entry["containerPort"] = port.container_port;
    entry["hostPort"] = port.host_port;
    if (!port.host_ip.empty()) entry["hostIp"] = View(port.host_ip);
    mappings.emplace_back(std::move(entry));
  }
  return oci::WriteJson(object);
}

Result<Attachment> Attachment::Parse(std::string_view text) {
  Attachment attachment;
  if (text.empty()) return attachment;
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(text, kMaxAttachmentBytes));
  oci::JsonNode root(document, "network attachment");
  ASSIGN_OR_RETURN(int64_t version, root.Key("version").Int64());
  if (version != kVersion) return root.Key("version").Error("is not known");
  ASSIGN_OR_RETURN(attachment.config, root.Key("config").StringOr(""));
  ASSIGN_OR_RETURN(attachment.result, root.Key("result").StringOr(""));
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
  return attachment;
}

}  // namespace davit::network
