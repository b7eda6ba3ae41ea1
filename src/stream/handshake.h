// Handshake: from a request's head to the protocol that the session speaks, or the answer that refuses it.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "http/request_head.h"
#include "stream/tickets.h"

namespace davit::stream {

enum class Framing { kSpdy, kChannels, kTunnel };

struct Upgrade {
  Framing framing = Framing::kSpdy;
  int version = 1;      // of channel.k8s.io; for exec and attach
  bool base64 = false;  // channels only
  std::string answer;   // "HTTP/1.1 101 …"
};

struct Handshake {
  std::optional<Upgrade> upgrade;
  std::string refusal;  // a whole answer, when there is no upgrade
};

// What can be said without the ticket: method, body, Origin. nullopt: go on.
std::optional<std::string> RefuseRequest(const http::RequestHead& head);

// {kind, token} of "/exec/TOKEN"; nullopt for any other path.
std::optional<std::pair<std::string, std::string>> ParseTicketPath(std::string_view path);

// Picks the first protocol of the client's list that the server has.
Handshake Negotiate(const http::RequestHead& head, bool port_forward);

// The ports that an old WebSocket port-forward names in its query, or else the ticket's. kInvalidArgument
// when one is no port, or there is none, or more than 100.
Result<std::vector<int>> ChannelPorts(const http::RequestHead& head, const PortForwardRequest& request);

}  // namespace davit::stream
