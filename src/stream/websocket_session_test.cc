#include <gtest/gtest.h>

#include "http/base64.h"
#include "stream/fake_backend.h"
#include "stream/server.h"
#include "stream/test_client.h"

namespace davit::stream {
namespace {

using http::WebSocketOpcode;

constexpr char kSuccess[] = R"({"metadata":{},"status":"Success"})";

class WebSocketSessionTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start({}, backend_);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
  }
  // Opens the session and leaves the connection behind the answer's head.
  void Open(const std::string& script, const std::string& protocol, bool want_stdin, bool terminal = false) {
    auto url =
        server_->MintExec({ContainerId::Mint(), {"/bin/sh", "-c", script}, terminal, want_stdin, true, !terminal});
    ASSERT_TRUE(url.ok());
    connection_ = std::make_unique<TestConnection>(server_->port());
    connection_->Send(WebSocketRequest(PathOf(*url), protocol));
    ASSERT_TRUE(connection_->ReceiveHead().starts_with("HTTP/1.1 101 "));
    socket_ = std::make_unique<TestWebSocket>(*connection_);
  }
  FakeBackend backend_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<TestConnection> connection_;
  std::unique_ptr<TestWebSocket> socket_;
};

TEST_F(WebSocketSessionTest, Version5HalfClosesStdin) {
  Open("cat; echo err >&2", "v5.channel.k8s.io", true);
  socket_->Send(WebSocketOpcode::kBinary, std::string(1, '\0') + "hello ");
  socket_->Send(WebSocketOpcode::kPing, "?");
  socket_->Send(WebSocketOpcode::kBinary, std::string(1, '\0') + "again");
  socket_->Send(WebSocketOpcode::kBinary, std::string("\xff\0", 2));
  auto channels = socket_->Channels();
  EXPECT_EQ(channels[1], "hello again");
  EXPECT_EQ(channels[2], "err\n");
  EXPECT_EQ(channels[3], kSuccess);
  EXPECT_EQ(socket_->close_code, 1000);
}

TEST_F(WebSocketSessionTest, EveryVersionGivesOutputAndStatus) {
  for (const char* protocol :
       {"v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", ""}) {
    Open("echo out; echo err >&2; exit 6", protocol, false);
    auto channels = socket_->Channels();
    EXPECT_EQ(channels[1], "out\n") << protocol;
    EXPECT_EQ(channels[2], "err\n") << protocol;
    EXPECT_NE(channels[3].find("exit code 6"), std::string::npos) << protocol;
    EXPECT_EQ(channels[3].starts_with("{"), std::string(protocol) >= "v4") << protocol;
    EXPECT_EQ(socket_->close_code, 1000) << protocol;
  }
}

TEST_F(WebSocketSessionTest, Base64ChannelsAreText) {
  Open("read line; echo \"<$line>\"", "v4.base64.channel.k8s.io", true);
  // In pieces that cut the base64 groups.
  std::string message = "0" + http::Base64Encode("some words\n");
  std::string first = http::WebSocketFrame(WebSocketOpcode::kText, message.substr(0, 6), "abcd");
  first[0] = 0x01;
  connection_->Send(first);
  socket_->Send(WebSocketOpcode::kContinuation, message.substr(6));
  auto channels = socket_->Channels();
  EXPECT_TRUE(socket_->text_seen);
  EXPECT_EQ(http::Base64Decode(channels['1']), "<some words>\n");
  EXPECT_EQ(http::Base64Decode(channels['3']), kSuccess);
}

TEST_F(WebSocketSessionTest, TenMegabytesArriveWholeBeforeTheStatus) {
  Open("head -c 10000000 /dev/zero; echo end", "v5.channel.k8s.io", false);
  auto channels = socket_->Channels();
  EXPECT_EQ(channels[1].size(), 10000004U);
  EXPECT_EQ(channels[3], kSuccess);
}

TEST_F(WebSocketSessionTest, TerminalIsResized) {
  Open("read line; stty size", "v5.channel.k8s.io", true, true);
  socket_->Send(WebSocketOpcode::kBinary, "\x04{\"Width\":77,\"Height\":22}");
  socket_->Send(WebSocketOpcode::kBinary, std::string(1, '\0') + "go\n");
  EXPECT_NE(socket_->Channels()[1].find("22 77"), std::string::npos);
}

TEST_F(WebSocketSessionTest, BrokenMessagesCloseWithProtocolError) {
  Open("exec sleep 1000", "v5.channel.k8s.io", true);
  socket_->Send(WebSocketOpcode::kBinary, "\xff");  // closes no channel
  socket_->Channels();
  EXPECT_EQ(socket_->close_code, 1002);
  Open("exec sleep 1000", "v5.channel.k8s.io", true);
  connection_->Send(http::WebSocketFrame(WebSocketOpcode::kBinary, "unmasked"));
  socket_->Channels();
  EXPECT_EQ(socket_->close_code, 1002);
}

TEST_F(WebSocketSessionTest, ClientsCloseIsAnsweredAndEndsTheExec) {
  Open("echo up; exec sleep 1000", "v5.channel.k8s.io", false);
  while (auto message = socket_->Next()) {
    if (*message == "\1up\n") break;
  }
  socket_->Send(WebSocketOpcode::kClose, "\x03\xe8");
  socket_->Channels();
  EXPECT_EQ(socket_->close_code, 1000);
  server_->Stop();
  EXPECT_EQ(backend_.killed, 1);
}

}  // namespace
}  // namespace davit::stream
