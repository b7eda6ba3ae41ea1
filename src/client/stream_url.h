// The client side of the connections that CRI's Exec, Attach and PortForward give URLs of: WebSocket with channels
// (v5.channel.k8s.io, v4 for servers that have no v5).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::client {

// The first byte of each message.
enum Channel : unsigned char { kStdin = 0, kStdout = 1, kStderr = 2, kError = 3, kResize = 4, kClose = 255 };

struct StreamUrl {
  std::string host;  // without brackets
  std::string port;
  std::string target;  // path and query
};
// Only http://; a server that speaks TLS is meant for the API server, not for this command.
Result<StreamUrl> ParseStreamUrl(std::string_view url);

// The end of an exec by the JSON metav1.Status on the error channel: 0 for success, the code for
// NonZeroExitCode. Everything else is an error with the server's message.
Result<int> ParseEndStatus(std::string_view json);

// Checks the answer to the upgrade ("HTTP/1.1 101 …" up to and with the blank line); the protocol chosen.
Result<std::string> CheckUpgrade(std::string_view head, std::string_view key);

struct Upgraded {
  sys::UniqueFd fd;
  std::string protocol;
  std::string early;  // came with the answer's head
};
// Connects to `url` and offers `protocols` ("v5.channel.k8s.io, v4.channel.k8s.io"). kUnavailable when the
// server does not answer or refuses.
Result<Upgraded> OpenWebSocket(const std::string& url, const std::string& protocols);
// Four unpredictable bytes, as each of a client's frames needs (RFC 6455 section 5.3).
std::string WebSocketMask();

}  // namespace davit::client
