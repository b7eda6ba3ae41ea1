#include "cli/port_forward.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/strings.h"
#include "client/stream_url.h"
#include "http/websocket_frame.h"

namespace davit::cli {
namespace {

constexpr size_t kHigh = 256 * 1024;  // a side waits while so much for the other is unsent
constexpr size_t kChunk = 32 * 1024;
constexpr size_t kMaxError = 1024;
constexpr int kAfterEndMs = 5000;
constexpr char kData = 0;
constexpr char kError = 1;

class Tunnel final : private http::WebSocketVisitor {
 public:
  Tunnel(int local, int remote) : local_(local), remote_(remote), decoder_(*this, false) {}

  Status Run(const std::string& early) {
    RETURN_IF_ERROR(sys::SetNonBlocking(local_, true));
    RETURN_IF_ERROR(sys::SetNonBlocking(remote_, true));
    RETURN_IF_ERROR(decoder_.Decode(early));
    while (!(closed_ && to_local_.empty()) && !broken_) {
      pollfd polled[2] = {{local_, Events(!ended_ && to_remote_.size() < kHigh, !to_local_.empty()), 0},
                          {closed_ ? -1 : remote_, Events(to_local_.size() < kHigh, !to_remote_.empty()), 0}};
      int ready = ::poll(polled, 2, ended_ ? kAfterEndMs : -1);
      if (ready < 0 && errno != EINTR) return ErrnoError(errno, "poll");
      if (ready == 0) break;
      if (polled[0].revents != 0) ServeLocal(polled[0].revents);
      if (polled[1].revents != 0) RETURN_IF_ERROR(ServeRemote(polled[1].revents));
    }
    return error_.empty() ? Status() : Unavailable(Printable(Trim(error_), kMaxError));
  }

 private:
  static short Events(bool in, bool out) { return static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0)); }

  void ServeLocal(short events) {
    if ((events & POLLOUT) != 0) Flush(local_, to_local_);
    if ((events & (POLLERR | POLLNVAL)) != 0) broken_ = true;
    if ((events & (POLLIN | POLLHUP)) == 0 || ended_) return;
    std::string bytes(kChunk, '\0');
    ssize_t n = ::recv(local_, bytes.data(), bytes.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      ended_ = true;
      return;
    }
    bytes.resize(static_cast<size_t>(n));
    Frame(http::WebSocketOpcode::kBinary, std::string(1, kData) + bytes);
  }

  Status ServeRemote(short events) {
    if ((events & POLLOUT) != 0) Flush(remote_, to_remote_);
    if ((events & (POLLIN | POLLHUP | POLLERR)) == 0) return {};
    std::string bytes(kChunk, '\0');
    ssize_t n = ::recv(remote_, bytes.data(), bytes.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (n <= 0) {
      closed_ = true;
      return {};
    }
    return decoder_.Decode(std::string_view(bytes).substr(0, static_cast<size_t>(n)));
  }

  void Frame(http::WebSocketOpcode opcode, std::string_view payload) {
    to_remote_ += http::WebSocketFrame(opcode, payload, client::WebSocketMask());
    Flush(remote_, to_remote_);
  }
  void Flush(int fd, std::string& bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) broken_ = true;
      if (n <= 0) return;
      bytes.erase(0, static_cast<size_t>(n));
    }
  }

  void OnMessagePiece(bool, std::string_view bytes, bool first, bool last) override {
    if (first) {
      channel_ = bytes.empty() ? kError : bytes.front();
      bytes.remove_prefix(bytes.empty() ? 0 : 1);
    }
    if (channel_ != kData && channel_ != kError) return;
    // Each channel begins with the port, two bytes that we know.
    size_t& head = channel_ == kData ? data_head_ : error_head_;
    size_t skip = std::min(head, bytes.size());
    head -= skip;
    bytes.remove_prefix(skip);
    if (channel_ == kData) to_local_ += bytes;
    if (channel_ == kError && error_.size() < kMaxError) error_ += bytes;
    // The server keeps the session open for its other ports; this one has none.
    if (last && !error_.empty()) closed_ = true;
  }
  void OnPingFrame(std::string_view payload) override { Frame(http::WebSocketOpcode::kPong, payload); }
  void OnCloseFrame(uint16_t) override { closed_ = true; }

  const int local_;
  const int remote_;
  http::WebSocketDecoder decoder_;
  std::string to_local_;
  std::string to_remote_;
  std::string error_;
  char channel_ = kError;
  size_t data_head_ = 2;
  size_t error_head_ = 2;
  bool ended_ = false;   // the local side
  bool closed_ = false;  // the remote side
  bool broken_ = false;
};

}  // namespace

Result<PortPair> ParsePortPair(const std::string& text) {
  size_t colon = text.find(':');
  std::string remote_text = colon == std::string::npos ? text : text.substr(colon + 1);
  std::string local_text = colon == std::string::npos ? text : text.substr(0, colon);
  auto remote = ParseUint64(remote_text);
  auto local = local_text.empty() ? std::optional<uint64_t>(0) : ParseUint64(local_text);
  if (!remote || *remote == 0 || *remote > 65535 || !local || *local > 65535) {
    return InvalidArgument(fmt::format("port \"{}\" is not [LOCAL:]REMOTE", Printable(text)));
  }
  return PortPair{static_cast<uint16_t>(*local), static_cast<uint16_t>(*remote)};
}

Status ForwardConnection(sys::UniqueFd local, const std::string& url, uint16_t remote_port) {
  std::string whole = fmt::format("{}{}port={}", url, url.find('?') == std::string::npos ? '?' : '&', remote_port);
  ASSIGN_OR_RETURN(client::Upgraded upgraded, client::OpenWebSocket(whole, "v4.channel.k8s.io"));
  Tunnel tunnel(local.get(), upgraded.fd.get());
  return tunnel.Run(upgraded.early);
}

}  // namespace davit::cli
