#include "stream/handshake.h"

#include <gtest/gtest.h>

#include "stream/test_client.h"

namespace davit::stream {
namespace {

http::RequestHead Parse(const std::string& text) {
  auto head = http::ParseRequestHead(text, 65536);
  EXPECT_TRUE(head.ok() && *head) << text;
  return **head;
}

TEST(HandshakeTest, TakesTheClientsFirstKnownProtocol) {
  auto handshake =
      Negotiate(Parse(SpdyRequest("/exec/x", "v9.channel.k8s.io, v3.channel.k8s.io, v4.channel.k8s.io")), false);
  ASSERT_TRUE(handshake.upgrade);
  EXPECT_EQ(handshake.upgrade->version, 3);
  EXPECT_NE(handshake.upgrade->answer.find("\r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\n"), std::string::npos);

  handshake = Negotiate(Parse(WebSocketRequest("/exec/x", "v5.channel.k8s.io")), false);
  ASSERT_TRUE(handshake.upgrade);
  EXPECT_EQ(handshake.upgrade->version, 5);
  EXPECT_NE(handshake.upgrade->answer.find("\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n"), std::string::npos);

  handshake = Negotiate(Parse(WebSocketRequest("/portforward/x", "SPDY/3.1+portforward.k8s.io")), true);
  ASSERT_TRUE(handshake.upgrade);
  EXPECT_EQ(handshake.upgrade->framing, Framing::kTunnel);
}

TEST(HandshakeTest, NoProtocolMeansTheFirst) {
  auto handshake = Negotiate(Parse(SpdyRequest("/exec/x", "")), false);
  ASSERT_TRUE(handshake.upgrade);
  EXPECT_EQ(handshake.upgrade->version, 1);
  EXPECT_EQ(handshake.upgrade->answer.find("X-Stream-Protocol-Version"), std::string::npos);
  handshake = Negotiate(Parse(WebSocketRequest("/exec/x", "")), false);
  ASSERT_TRUE(handshake.upgrade);
  EXPECT_FALSE(handshake.upgrade->base64);
}

TEST(HandshakeTest, Answers403WithItsListWhenNothingFits) {
  auto handshake = Negotiate(Parse(SpdyRequest("/portforward/x", "v4.channel.k8s.io")), true);
  EXPECT_FALSE(handshake.upgrade);
  EXPECT_TRUE(handshake.refusal.starts_with("HTTP/1.1 403 "));
  EXPECT_NE(handshake.refusal.find("X-Accepted-Stream-Protocol-Versions: portforward.k8s.io\r\n"), std::string::npos);
}

TEST(HandshakeTest, RefusesRequestsThatAreNoUpgrade) {
  EXPECT_TRUE(Negotiate(Parse("GET /exec/x HTTP/1.1\r\n\r\n"), false).refusal.starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(Negotiate(Parse("GET /exec/x HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"), false)
                  .refusal.starts_with("HTTP/1.1 400 "));
  std::string old = WebSocketRequest("/exec/x", "");
  old.replace(old.find("13\r\n"), 2, "08");
  EXPECT_TRUE(Negotiate(Parse(old), false).refusal.starts_with("HTTP/1.1 426 "));
}

TEST(HandshakeTest, RefusesMethodsBodiesAndForeignOrigins) {
  auto refusal = [](const std::string& head) { return RefuseRequest(Parse(head)).value_or("").substr(0, 12); };
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\n\r\n"), "");
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), "");
  EXPECT_EQ(refusal("PUT / HTTP/1.1\r\n\r\n"), "HTTP/1.1 405");
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), "HTTP/1.1 400");
  for (const char* origin : {"http://localhost:80", "https://127.0.0.1", "http://[::1]:1"}) {
    EXPECT_EQ(refusal("GET / HTTP/1.1\r\nOrigin: " + std::string(origin) + "\r\n\r\n"), "") << origin;
  }
  for (const char* origin : {"http://evil.example", "null", "http://localhost.evil", "http://127.0.0.1.evil",
                             "http://127.0.0.1.1.evil", "http://[::1].evil", ""}) {
    EXPECT_EQ(refusal("GET / HTTP/1.1\r\nOrigin: " + std::string(origin) + "\r\n\r\n"), "HTTP/1.1 403") << origin;
  }
}

TEST(HandshakeTest, ReadsPortsFromQueryOrTicket) {
  auto ports = ChannelPorts(Parse("GET /?port=80,81&port=9 HTTP/1.1\r\n\r\n"), {});
  ASSERT_TRUE(ports.ok());
  EXPECT_EQ(*ports, (std::vector<int>{80, 81, 9}));
  EXPECT_EQ(*ChannelPorts(Parse("GET / HTTP/1.1\r\n\r\n"), {PodId(), {7}}), std::vector<int>{7});
  EXPECT_FALSE(ChannelPorts(Parse("GET / HTTP/1.1\r\n\r\n"), {}).ok());
  EXPECT_FALSE(ChannelPorts(Parse("GET /?port=70000 HTTP/1.1\r\n\r\n"), {}).ok());
}

}  // namespace
}  // namespace davit::stream
