#include "cli/stream_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "http/websocket_frame.h"

namespace davit::cli {
namespace {

TEST(DetachKeysTest, TakesTheSequenceOutOfAnyCut) {
  DetachKeys keys;
  EXPECT_EQ(keys.Filter("ab\x10"), "ab");
  EXPECT_EQ(keys.Filter("c"),
            "\x10"
            "c");
  EXPECT_EQ(keys.Filter("\x10\x10"), "\x10");
  EXPECT_FALSE(keys.detached());
  EXPECT_EQ(keys.Filter("\x11more"), "");
  EXPECT_TRUE(keys.detached());
}

// A streaming server for one connection.
class OneServer : private http::WebSocketVisitor {
 public:
  explicit OneServer(std::string protocol)
      : protocol_(std::move(protocol)), listen_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(listen_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(listen_.get(), 1), 0);
    EXPECT_EQ(::getsockname(listen_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/exec/t";
    thread_ = std::thread([this] { Serve(); });
  }
  ~OneServer() override { Join(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] const std::string& url() const { return url_; }

  std::vector<std::string> messages;  // after Join

 private:
  // Echoes stdin to stdout until its end, then says exit code 3.
  void Serve() {
    fd_.reset(::accept(listen_.get(), nullptr, nullptr));
    std::string head;
    char byte = 0;
    while (head.find("\r\n\r\n") == std::string::npos && ::recv(fd_.get(), &byte, 1, 0) == 1) head += byte;
    size_t at = head.find("Sec-WebSocket-Key: ") + 19;
    std::string key = head.substr(at, head.find("\r\n", at) - at);
    // The first output comes with the answer, in one piece.
    Write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
          http::WebSocketAccept(key) + "\r\nSec-WebSocket-Protocol: " + protocol_ + "\r\n\r\n" +
          http::WebSocketFrame(http::WebSocketOpcode::kBinary,
                               "\x01"
                               "hello ") +
          http::WebSocketFrame(http::WebSocketOpcode::kBinary,
                               "\x02"
                               "problem") +
          http::WebSocketFrame(http::WebSocketOpcode::kPing, "p"));
    http::WebSocketDecoder decoder(*this, true);
    std::string bytes(4096, '\0');
    for (;;) {
      ssize_t n = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
      if (n <= 0 || !decoder.Decode(std::string_view(bytes).substr(0, static_cast<size_t>(n))).ok()) break;
    }
    fd_.reset();
  }
  void Write(const std::string& bytes) { EXPECT_TRUE(sys::WriteAll(fd_.get(), bytes).ok()); }
  void OnMessagePiece(bool, std::string_view bytes, bool first, bool last) override {
    if (first) message_.clear();
    message_ += bytes;
    if (!last) return;
    messages.push_back(message_);
    if (message_[0] == '\0') {
      message_[0] = '\x01';
      Write(http::WebSocketFrame(http::WebSocketOpcode::kBinary, message_));
    }
    if (message_ == std::string("\xff\x00", 2)) {
      Write(
          http::WebSocketFrame(
              http::WebSocketOpcode::kBinary,
              "\x03"
              R"({"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}})") +
          http::WebSocketFrame(http::WebSocketOpcode::kClose, std::string("\x03\xe8", 2)));
    }
  }
  void OnPingFrame(std::string_view) override {}
  void OnCloseFrame(uint16_t) override {}

  const std::string protocol_;
  sys::UniqueFd listen_;
  sys::UniqueFd fd_;
  std::string url_;
  std::string message_;
  std::thread thread_;
};

TEST(StreamClientTest, CarriesTheStreamsAndTheExitCode) {
  OneServer server("v5.channel.k8s.io");
  auto client = StreamClient::Connect(server.url());
  ASSERT_TRUE(client.ok()) << client.status().ToString();
  auto in = sys::MakePipe();
  auto out = sys::MakePipe();
  auto err = sys::MakePipe();
  ASSERT_TRUE(sys::WriteAll(in->write.get(), "input").ok());
  in->write.reset();
  StreamOptions options;
  options.stdin_fd = in->read.get();
  options.stdout_fd = out->write.get();
  options.stderr_fd = err->write.get();
  auto result = client->Run(options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->end, StreamEnd::kStatus);
  EXPECT_EQ(result->exit_code, 3);
  out->write.reset();
  err->write.reset();
  EXPECT_EQ(*sys::ReadAll(out->read.get(), 1000), "hello input");
  EXPECT_EQ(*sys::ReadAll(err->read.get(), 1000), "problem");
}

TEST(StreamClientTest, RefusesAProtocolItDidNotOffer) {
  OneServer server("channel.k8s.io");
  EXPECT_EQ(StreamClient::Connect(server.url()).code(), StatusCode::kUnimplemented);
}

TEST(StreamClientTest, SaysWhoDoesNotAnswer) {
  auto client = StreamClient::Connect("http://127.0.0.1:1/exec/x");
  EXPECT_EQ(client.code(), StatusCode::kUnavailable);
  EXPECT_NE(client.status().message().find("127.0.0.1:1"), std::string::npos);
}

}  // namespace
}  // namespace davit::cli
