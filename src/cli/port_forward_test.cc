#include "cli/port_forward.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

#include "http/websocket_frame.h"

namespace davit::cli {
namespace {

TEST(PortPairTest, TakesOneOrTwoPorts) {
  EXPECT_EQ(ParsePortPair("80")->local, 80);
  EXPECT_EQ(ParsePortPair("80")->remote, 80);
  EXPECT_EQ(ParsePortPair("8080:80")->local, 8080);
  EXPECT_EQ(ParsePortPair(":80")->local, 0);
  for (const char* text : {"", ":", "80:", "0", "1:0", "x", "1:2:3", "65536", "-1:2"})
    EXPECT_FALSE(ParsePortPair(text).ok()) << text;
}

// Answers one upgrade with `frames`, reads until the end of the connection.
class FrameServer {
 public:
  explicit FrameServer(std::string frames, bool wait = false)
      : wait_(wait), listen_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(listen_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(listen_.get(), 1), 0);
    EXPECT_EQ(::getsockname(listen_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/portforward/t";
    thread_ = std::thread([this, frames = std::move(frames)] { Serve(frames); });
  }
  ~FrameServer() { thread_.join(); }
  std::string url;
  std::string request;  // valid once ForwardConnection has ended

 private:
  void Serve(const std::string& frames) {
    sys::UniqueFd fd(::accept(listen_.get(), nullptr, nullptr));
    char byte = 0;
    while (request.find("\r\n\r\n") == std::string::npos && ::recv(fd.get(), &byte, 1, 0) == 1) request += byte;
    size_t at = request.find("Sec-WebSocket-Key: ") + 19;
    std::string key = request.substr(at, request.find("\r\n", at) - at);
    // Like a server with other ports, it leaves the end to the client.
    EXPECT_TRUE(sys::WriteAll(fd.get(), "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " +
                                            http::WebSocketAccept(key) +
                                            "\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n" + frames)
                    .ok());
    if (wait_) (void)!::recv(fd.get(), &byte, 1, MSG_WAITALL);
  }

  const bool wait_;
  sys::UniqueFd listen_;
  std::thread thread_;
};

std::string Message(const std::string& payload) {
  return http::WebSocketFrame(http::WebSocketOpcode::kBinary, payload);
}

TEST(PortForwardTest, StripsThePortAndDeliversWhatCameBeforeTheEnd) {
  FrameServer server(Message(std::string("\0\x50", 2)) + Message(std::string("\0\0hel", 5)) +
                     Message(std::string("\1\x50\0", 3)) + Message(std::string("\0lo", 3)));
  auto pair = sys::MakeSocketPair(SOCK_STREAM);
  ASSERT_TRUE(ForwardConnection(std::move(pair->first), server.url, 80).ok());
  EXPECT_EQ(*sys::ReadAll(pair->second.get(), 100), "hello");
  EXPECT_NE(server.request.find("GET /portforward/t?port=80 "), std::string::npos);
}

TEST(PortForwardTest, SaysTheServersError) {
  FrameServer server(Message(std::string("\1\x50\0connection refused", 21)), true);
  auto pair = sys::MakeSocketPair(SOCK_STREAM);
  Status status = ForwardConnection(std::move(pair->first), server.url, 80);
  EXPECT_EQ(status.message(), "connection refused");
}

}  // namespace
}  // namespace davit::cli
