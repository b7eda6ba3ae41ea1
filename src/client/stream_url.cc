#include "client/stream_url.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <boost/json.hpp>
#include <cerrno>

#include "base/strings.h"
#include "http/base64.h"
#include "http/request_head.h"
#include "http/websocket_frame.h"

namespace davit::client {
namespace {

constexpr size_t kMaxHead = 16 * 1024;
constexpr std::chrono::seconds kConnectBudget{15};

std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  size_t got = 0;
  while (got < count) {
    ssize_t n = ::getrandom(bytes.data() + got, count - got, 0);
    if (n > 0) got += static_cast<size_t>(n);
  }
  return bytes;
}

Result<sys::UniqueFd> ConnectTcp(const StreamUrl& url) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  std::string what = fmt::format("connect to the streaming server at {}:{}", url.host, url.port);
  if (int err = ::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &list); err != 0) {
    return Unavailable(fmt::format("{}: {}", what, ::gai_strerror(err)));
  }
  int error = ECONNREFUSED;
  sys::UniqueFd fd;
  for (addrinfo* at = list; at != nullptr; at = at->ai_next) {
    fd.reset(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd.valid() && ::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) break;
    error = errno;
    fd.reset();
  }
  ::freeaddrinfo(list);
  if (!fd.valid()) return Unavailable(fmt::format("{}: {}", what, ErrnoError(error, "connect").message()));
  return fd;
}

Status SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoError(errno, "send to the streaming server");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

// The answer's head, and what came after it.
Result<std::pair<std::string, std::string>> ReadHead(int fd, Deadline deadline) {
  std::string text;
  for (;;) {
    size_t end = text.find("\r\n\r\n");
    if (end != std::string::npos) return std::pair(text.substr(0, end + 4), text.substr(end + 4));
    if (text.size() > kMaxHead) return ResourceExhausted("the streaming server's answer is longer than 16 KiB");
    pollfd polled{fd, POLLIN, 0};
    int ready = ::poll(&polled, 1, deadline.PollTimeoutMs());
    if (ready == 0) return DeadlineExceeded("no answer from the streaming server");
    if (ready < 0 && errno == EINTR) continue;
    char bytes[4096];
    ssize_t n = ::recv(fd, bytes, sizeof bytes, 0);
    if (n < 0) return ErrnoError(errno, "read the streaming server's answer");
    if (n == 0) return Unavailable("the streaming server closed the connection: " + Printable(text, 200));
    text.append(bytes, static_cast<size_t>(n));
  }
}

}  // namespace

Result<StreamUrl> ParseStreamUrl(std::string_view url) {
  std::string shown = Printable(url, 64);  // the rest is the ticket
  if (url.starts_with("https://")) {
    return Unimplemented("the streaming server speaks TLS (" + shown + "): use kubectl, or exec --sync");
  }
  if (!url.starts_with("http://")) return InvalidArgument("streaming URL \"" + shown + "\" is not http://");
  url.remove_prefix(7);
  size_t slash = std::min(url.find('/'), url.size());
  std::string_view authority = url.substr(0, slash);
  StreamUrl out;
  out.target = slash < url.size() ? std::string(url.substr(slash)) : "/";
  size_t colon = authority.rfind(':');
  if (authority.starts_with("[")) {
    size_t end = authority.find(']');
    if (end == std::string_view::npos) return InvalidArgument("streaming URL \"" + shown + "\" has no host");
    out.host = authority.substr(1, end - 1);
    colon = end + 1 < authority.size() ? end + 1 : std::string_view::npos;
  } else {
    out.host = authority.substr(0, colon);
  }
  out.port = colon == std::string_view::npos ? "80" : std::string(authority.substr(colon + 1));
  auto number = ParseUint64(out.port);
  bool clean = out.target.find_first_of("\r\n ") == std::string::npos;
  if (out.host.empty() || !number || *number == 0 || *number > 65535 || !clean) {
    return InvalidArgument("streaming URL \"" + shown + "\" is malformed");
  }
  return out;
}

Result<int> ParseEndStatus(std::string_view text) {
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  // Servers before v4, and some errors of later ones, are plain text.
  if (error || !value.is_object()) return Internal(Printable(Trim(text), 1024));
  const boost::json::object& status = value.get_object();
  auto word = [](const boost::json::object& from, const char* key) {
    const boost::json::value* found = from.if_contains(key);
    return found != nullptr && found->is_string() ? std::string(found->get_string().c_str()) : std::string();
  };
  if (word(status, "status") == "Success") return 0;
  if (word(status, "reason") == "NonZeroExitCode") {
    const boost::json::value* details = status.if_contains("details");
    const boost::json::value* causes =
        details != nullptr && details->is_object() ? details->get_object().if_contains("causes") : nullptr;
    if (causes != nullptr && causes->is_array()) {
      for (const boost::json::value& cause : causes->get_array()) {
        if (!cause.is_object() || word(cause.get_object(), "reason") != "ExitCode") continue;
        if (auto code = ParseInt64(word(cause.get_object(), "message")); code && *code >= 0 && *code <= 255) {
          return static_cast<int>(*code);
        }
      }
    }
    return Internal("the server gave an exit status without a code");
  }
  std::string message = word(status, "message");
  return Internal(message.empty() ? "the server gave no reason" : Printable(message, 1024));
}

Result<std::string> CheckUpgrade(std::string_view head, std::string_view key) {
  std::string_view first = head.substr(0, head.find("\r\n"));
  if (!first.starts_with("HTTP/1.1 101")) {
    std::string reason(Trim(first.starts_with("HTTP/1.") ? first.substr(std::min<size_t>(8, first.size())) : first));
    return Unavailable("the streaming server refused: " + Printable(reason));
  }
  std::string accept;
  std::string protocol;
  for (const std::string& line : Split(head.substr(std::min(first.size() + 2, head.size())), '\n')) {
    size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string value(Trim(std::string_view(line).substr(colon + 1)));
    if (http::EqualsIgnoreCase(line.substr(0, colon), "sec-websocket-accept")) accept = value;
    if (http::EqualsIgnoreCase(line.substr(0, colon), "sec-websocket-protocol")) protocol = value;
  }
  if (accept != http::WebSocketAccept(key))
    return Internal("the streaming server's WebSocket answer is not for this request");
  if (protocol != "v5.channel.k8s.io" && protocol != "v4.channel.k8s.io") {
    return Unimplemented("the streaming server chose the protocol \"" + Printable(protocol) + "\"");
  }
  return protocol;
}

std::string WebSocketMask() { return RandomBytes(4); }

Result<Upgraded> OpenWebSocket(const std::string& text, const std::string& protocols) {
  ASSIGN_OR_RETURN(StreamUrl url, ParseStreamUrl(text));
  ASSIGN_OR_RETURN(sys::UniqueFd fd, ConnectTcp(url));
  std::string key = http::Base64Encode(RandomBytes(16));
  bool ipv6 = url.host.find(':') != std::string::npos;
  RETURN_IF_ERROR(SendAll(
      fd.get(), fmt::format("GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
                            url.target, ipv6 ? "[" + url.host + "]" : url.host, url.port, key, protocols)));
  ASSIGN_OR_RETURN(auto answer, ReadHead(fd.get(), Deadline::After(kConnectBudget)));
  ASSIGN_OR_RETURN(std::string protocol, CheckUpgrade(answer.first, key));
  return Upgraded{std::move(fd), std::move(protocol), std::move(answer.second)};
}

}  // namespace davit::client
