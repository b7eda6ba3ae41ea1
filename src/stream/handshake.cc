#include "stream/handshake.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "http/websocket_frame.h"

namespace davit::stream {
namespace {

using http::ErrorResponse;
using http::RequestHead;

struct Protocol {
  std::string_view name;
  int version;
  bool base64;
  Framing framing;
};

constexpr std::array kSpdyExec = {
    Protocol{"v4.channel.k8s.io", 4, false, Framing::kSpdy},
    Protocol{"v3.channel.k8s.io", 3, false, Framing::kSpdy},
    Protocol{"v2.channel.k8s.io", 2, false, Framing::kSpdy},
    Protocol{"channel.k8s.io", 1, false, Framing::kSpdy},
};
constexpr std::array kSpdyPorts = {Protocol{"portforward.k8s.io", 1, false, Framing::kSpdy}};
constexpr std::array kSocketExec = {
    Protocol{"v5.channel.k8s.io", 5, false, Framing::kChannels},
    Protocol{"v4.channel.k8s.io", 4, false, Framing::kChannels},
    Protocol{"v3.channel.k8s.io", 3, false, Framing::kChannels},
    Protocol{"v2.channel.k8s.io", 2, false, Framing::kChannels},
    Protocol{"channel.k8s.io", 1, false, Framing::kChannels},
    Protocol{"v5.base64.channel.k8s.io", 5, true, Framing::kChannels},
    Protocol{"v4.base64.channel.k8s.io", 4, true, Framing::kChannels},
    Protocol{"v3.base64.channel.k8s.io", 3, true, Framing::kChannels},
    Protocol{"v2.base64.channel.k8s.io", 2, true, Framing::kChannels},
    Protocol{"base64.channel.k8s.io", 1, true, Framing::kChannels},
};
constexpr std::array kSocketPorts = {
    Protocol{"SPDY/3.1+portforward.k8s.io", 1, false, Framing::kTunnel},
    Protocol{"v4.channel.k8s.io", 4, false, Framing::kChannels},
    Protocol{"v4.base64.channel.k8s.io", 4, true, Framing::kChannels},
};

// A client's list decides the order. An empty list means the first, unnamed version.
template <size_t N>
const Protocol* Choose(const std::vector<std::string>& offered, const std::array<Protocol, N>& supported) {
  for (const std::string& name : offered) {
    for (const Protocol& protocol : supported) {
      if (protocol.name == name) return &protocol;
    }
  }
  return nullptr;
}

template <size_t N>
Handshake Unacceptable(const std::array<Protocol, N>& supported) {
  std::string extra;
  std::string names;
  for (const Protocol& protocol : supported) {
    extra += "X-Accepted-Stream-Protocol-Versions: " + std::string(protocol.name) + "\r\n";
    names += (names.empty() ? "" : ", ") + std::string(protocol.name);
  }
  return {std::nullopt, ErrorResponse(403, "no stream protocol in common: the server has " + names, extra)};
}

template <size_t N>
Handshake NegotiateSpdy(const RequestHead& head, const std::array<Protocol, N>& supported) {
  std::vector<std::string> offered = head.HeaderItems("x-stream-protocol-version");
  const Protocol* chosen = Choose(offered, supported);
  if (!chosen && !offered.empty()) return Unacceptable(supported);
  Upgrade upgrade{Framing::kSpdy, chosen ? chosen->version : 1, false,
                  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"};
  if (chosen) upgrade.answer += "X-Stream-Protocol-Version: " + std::string(chosen->name) + "\r\n";
  upgrade.answer += "\r\n";
  return {std::move(upgrade), {}};
}

template <size_t N>
Handshake NegotiateWebSocket(const RequestHead& head, const std::array<Protocol, N>& supported) {
  if (head.method != "GET") return {std::nullopt, ErrorResponse(405, "a WebSocket begins with GET", "Allow: GET\r\n")};
  if (head.Header("sec-websocket-version") != "13") {
    return {std::nullopt, ErrorResponse(426, "only WebSocket version 13 is spoken", "Sec-WebSocket-Version: 13\r\n")};
  }
  std::string_view key = head.Header("sec-websocket-key");
  if (!http::IsWebSocketKey(key)) {
    return {std::nullopt, ErrorResponse(400, "Sec-WebSocket-Key is not 16 bytes in base64")};
  }
  std::vector<std::string> offered = head.HeaderItems("sec-websocket-protocol");
  const Protocol* chosen = Choose(offered, supported);
  if (!chosen && !offered.empty()) return Unacceptable(supported);
  Upgrade upgrade{chosen ? chosen->framing : Framing::kChannels, chosen ? chosen->version : 1, chosen && chosen->base64,
                  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"};
  upgrade.answer += "Sec-WebSocket-Accept: " + http::WebSocketAccept(key) + "\r\n";
  if (chosen) upgrade.answer += "Sec-WebSocket-Protocol: " + std::string(chosen->name) + "\r\n";
  upgrade.answer += "\r\n";
  return {std::move(upgrade), {}};
}

// Pages of other sites must not reach the server through a browser on this machine (DNS rebinding).
bool IsLoopbackOrigin(std::string_view origin) {
  size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos) return false;
  std::string_view host = origin.substr(scheme + 3);
  if (host.starts_with("[::1]")) return host.size() == 5 || host[5] == ':';
  host = host.substr(0, host.find(':'));
  if (http::EqualsIgnoreCase(host, "localhost")) return true;
  std::vector<std::string> parts = Split(host, '.');
  return parts.size() == 4 && parts[0] == "127" && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
           auto number = ParseUint64(part);
           return number && *number <= 255;
         });
}

}  // namespace

std::optional<std::string> RefuseRequest(const RequestHead& head) {
  if (head.method != "GET" && head.method != "POST") {
    return ErrorResponse(405, "only GET and POST are allowed", "Allow: GET, POST\r\n");
  }
  // A body would be taken for the first frames.
  std::string_view length = head.Header("content-length");
  if (!head.Header("transfer-encoding").empty() || (!length.empty() && length != "0")) {
    return ErrorResponse(400, "the request must not have a body");
  }
  for (const auto& [name, value] : head.headers) {
    if (name == "origin" && !IsLoopbackOrigin(value)) return ErrorResponse(403, "foreign Origin refused");
  }
  return std::nullopt;
}

std::optional<std::pair<std::string, std::string>> ParseTicketPath(std::string_view path) {
  std::vector<std::string> parts = Split(path, '/');
  if (parts.size() != 3 || !parts[0].empty() || parts[2].empty()) return std::nullopt;
  return std::pair(parts[1], parts[2]);
}

Handshake Negotiate(const RequestHead& head, bool port_forward) {
  if (!head.HasToken("connection", "upgrade")) {
    return {std::nullopt, ErrorResponse(400, "the request must upgrade the connection to SPDY/3.1 or websocket")};
  }
  if (head.HasToken("upgrade", "websocket")) {
    return port_forward ? NegotiateWebSocket(head, kSocketPorts) : NegotiateWebSocket(head, kSocketExec);
  }
  if (head.HasToken("upgrade", "SPDY/3.1")) {
    return port_forward ? NegotiateSpdy(head, kSpdyPorts) : NegotiateSpdy(head, kSpdyExec);
  }
  return {std::nullopt, ErrorResponse(400, "the request must upgrade the connection to SPDY/3.1 or websocket")};
}

Result<std::vector<int>> ChannelPorts(const RequestHead& head, const PortForwardRequest& request) {
  constexpr size_t kMaxPorts = 100;  // two channels each, and a channel's number is one byte
  std::vector<int> ports;
  for (const auto& [name, value] : head.query) {
    if (name != "port" && name != "ports") continue;
    for (const std::string& item : Split(value, ',')) {
      auto port = ParseUint64(item);
      if (!port || *port == 0 || *port > 65535) return InvalidArgument("\"" + Printable(item, 16) + "\" is not a port");
      ports.push_back(static_cast<int>(*port));
    }
  }
  if (ports.empty()) ports = request.ports;
  if (ports.empty()) return InvalidArgument("the query names no port");
  if (ports.size() > kMaxPorts) return InvalidArgument("more than " + std::to_string(kMaxPorts) + " ports");
  return ports;
}

}  // namespace davit::stream
