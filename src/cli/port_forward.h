// Carries one TCP connection to a port of a pod: the port-forward protocol of WebSocket with channels
// (v4.channel.k8s.io; channel 0 data, 1 error, each beginning with the port as two bytes).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::cli {

struct PortPair {
  uint16_t local = 0;  // 0: the kernel picks one
  uint16_t remote = 0;
};
// "8080:80", "80" (both the same) or ":80". kInvalidArgument otherwise.
Result<PortPair> ParsePortPair(const std::string& text);

// Until either side has ended. `url` is what CRI's PortForward returned. The protocol cannot close one
// direction: after the local end of file what still comes is delivered until it pauses for five seconds.
// The error is the server's (nobody listens in the pod), or of the connection.
Status ForwardConnection(sys::UniqueFd local, const std::string& url, uint16_t remote_port);

}  // namespace davit::cli
