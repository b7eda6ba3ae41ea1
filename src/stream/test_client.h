// Clients for the streaming server's tests: blocking sockets with a time limit, SPDY and WebSocket on top.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/strings.h"
#include "http/spdy_frame.h"
#include "http/websocket_frame.h"
#include "sys/unique_fd.h"

namespace davit::stream {

class TestConnection {
 public:
  explicit TestConnection(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    timeval limit{20, 0};  // a test that hangs fails instead
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd_.reset();
  }
  void Send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  // Empty at the end of the connection.
  std::string Receive() {
    if (!early_.empty()) return std::exchange(early_, {});
    std::string bytes(64 * 1024, '\0');
    ssize_t n = -1;
    do {
      n = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    } while (n < 0 && errno == EINTR);  // a child's end; with a time limit the kernel does not restart
    bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return bytes;
  }
  // The answer's head; what follows it is given by the next Receive.
  std::string ReceiveHead() {
    std::string text;
    while (text.find("\r\n\r\n") == std::string::npos) {
      std::string more = Receive();
      if (more.empty()) return text;
      text += more;
    }
    size_t end = text.find("\r\n\r\n") + 4;
    early_ = text.substr(end);
    return text.substr(0, end);
  }
  void Close() { fd_.reset(); }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  sys::UniqueFd fd_;
  std::string early_;
};

// "/exec/…" of "http://127.0.0.1:1/exec/…".
inline std::string PathOf(const std::string& url) { return url.substr(url.find('/', 7)); }

inline std::string SpdyRequest(const std::string& path, const std::string& protocol, const std::string& extra = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" +
         (protocol.empty() ? "" : "X-Stream-Protocol-Version: " + protocol + "\r\n") + extra + "\r\n";
}
inline std::string WebSocketRequest(const std::string& path, const std::string& protocol) {
  return "GET " + path +
         " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
         (protocol.empty() ? "" : "Sec-WebSocket-Protocol: " + protocol + "\r\n") + "\r\n";
}

// A SPDY client; `send` and `receive` are a connection or a tunnel.
class TestSpdy final : private http::SpdyVisitor {
 public:
  TestSpdy(std::function<void(std::string_view)> send, std::function<std::string()> receive)
      : send_(std::move(send)), receive_(std::move(receive)), decoder_(*this) {}

  uint32_t Open(http::SpdyHeaders headers, bool fin = false) {
    uint32_t id = next_id_;
    next_id_ += 2;
    send_(encoder_.SynStream(id, fin, headers));
    return id;
  }
  void Data(uint32_t id, std::string_view bytes, bool fin = false) {
    send_(http::SpdyEncoder::DataHead(id, bytes.size(), fin) + std::string(bytes));
  }
  void Raw(std::string_view bytes) { send_(bytes); }
  // Receives until `done` or the end of the connection; whether it was `done`.
  bool Until(const std::function<bool()>& done) {
    while (!done()) {
      std::string bytes = receive_();
      if (bytes.empty() || !decoder_.Decode(bytes).ok()) {
        closed = true;
        return done();
      }
    }
    return true;
  }
  bool UntilEnded(uint32_t id) {
    return Until([&] { return ended.contains(id); });
  }

  std::map<uint32_t, std::string> data;
  std::set<uint32_t> replied;
  std::set<uint32_t> ended;
  std::set<uint32_t> reset;
  std::set<uint32_t> pings;
  std::map<uint32_t, uint64_t> credit;
  bool closed = false;

 private:
  void OnSynStream(uint32_t, bool, bool, const http::SpdyHeaders&) override {}
  void OnSynReply(uint32_t id, bool, const http::SpdyHeaders&) override { replied.insert(id); }
  void OnHeaders(uint32_t, bool, const http::SpdyHeaders&) override {}
  void OnDataPiece(uint32_t id, std::string_view bytes, bool fin) override {
    data[id] += bytes;
    if (fin) ended.insert(id);
  }
  void OnRstStream(uint32_t id, uint32_t) override { reset.insert(id); }
  void OnPing(uint32_t id) override { pings.insert(id); }
  void OnGoAway(uint32_t, uint32_t) override {}
  void OnWindowUpdate(uint32_t id, uint32_t delta) override { credit[id] += delta; }

  std::function<void(std::string_view)> send_;
  std::function<std::string()> receive_;
  http::SpdyEncoder encoder_;
  http::SpdyDecoder decoder_;
  uint32_t next_id_ = 1;
};

// A WebSocket client: whole messages.
class TestWebSocket final : private http::WebSocketVisitor {
 public:
  explicit TestWebSocket(TestConnection& connection) : connection_(connection), decoder_(*this, false) {}
  void Send(http::WebSocketOpcode opcode, std::string_view payload) {
    connection_.Send(http::WebSocketFrame(opcode, payload, "abcd"));
  }
  // The next message, or nullopt when the server closed.
  std::optional<std::string> Next() {
    while (messages_.empty() && close_code == 0) {
      std::string bytes = connection_.Receive();
      if (bytes.empty() || !decoder_.Decode(bytes).ok()) break;
    }
    if (messages_.empty()) return std::nullopt;
    std::string message = messages_.front();
    messages_.erase(messages_.begin());
    return message;
  }
  // All messages up to the close, by channel.
  std::map<int, std::string> Channels() {
    std::map<int, std::string> channels;
    while (auto message = Next()) {
      if (!message->empty()) channels[static_cast<uint8_t>(message->front())] += message->substr(1);
    }
    return channels;
  }
  int close_code = 0;
  bool text_seen = false;

 private:
  void OnMessagePiece(bool text, std::string_view bytes, bool, bool last) override {
    text_seen = text_seen || text;
    partial_ += bytes;
    if (last) messages_.push_back(std::exchange(partial_, {}));
  }
  void OnPingFrame(std::string_view) override {}
  void OnCloseFrame(uint16_t code) override { close_code = code; }

  TestConnection& connection_;
  http::WebSocketDecoder decoder_;
  std::string partial_;
  std::vector<std::string> messages_;
};

}  // namespace davit::stream
