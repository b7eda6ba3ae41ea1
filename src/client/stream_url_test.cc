#include "client/stream_url.h"

#include <gtest/gtest.h>

#include "http/websocket_frame.h"

namespace davit::client {
namespace {

TEST(StreamUrlTest, TakesApartWhatServersReturn) {
  auto url = ParseStreamUrl("http://127.0.0.1:34567/exec/AbC?x=1");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->host, "127.0.0.1");
  EXPECT_EQ(url->port, "34567");
  EXPECT_EQ(url->target, "/exec/AbC?x=1");
  auto ipv6 = ParseStreamUrl("http://[::1]:80/x");
  ASSERT_TRUE(ipv6.ok());
  EXPECT_EQ(ipv6->host, "::1");
  EXPECT_EQ(ParseStreamUrl("http://host/x")->port, "80");
}

TEST(StreamUrlTest, RefusesOthers) {
  EXPECT_EQ(ParseStreamUrl("https://127.0.0.1:1/exec/x").code(), StatusCode::kUnimplemented);
  for (const char* url : {"", "/exec/x", "http://", "http://:1/x", "http://h:0/x", "http://h:99999/x", "http://[::1/x",
                          "http://h:1/x\r\nEvil: 1"}) {
    EXPECT_EQ(ParseStreamUrl(url).code(), StatusCode::kInvalidArgument) << url;
  }
}

TEST(EndStatusTest, ReadsSuccessAndExitCodes) {
  EXPECT_EQ(*ParseEndStatus(R"({"metadata":{},"status":"Success"})"), 0);
  EXPECT_EQ(*ParseEndStatus(R"({"status":"Failure","reason":"NonZeroExitCode","message":"command terminated",
      "details":{"causes":[{"message":"x"},{"reason":"ExitCode","message":"42"}]}})"),
            42);
}

TEST(EndStatusTest, EverythingElseIsAnErrorWithTheServersText) {
  EXPECT_EQ(
      ParseEndStatus(R"({"status":"Failure","reason":"InternalError","message":"no such file"})").status().message(),
      "no such file");
  EXPECT_EQ(ParseEndStatus("plain text\n").status().message(), "plain text");
  for (const char* text :
       {R"({"status":"Failure","reason":"NonZeroExitCode"})",
        R"({"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"x"}]}})",
        R"({"status":"Failure","reason":"NonZeroExitCode","details":{"causes":7}})", "{}", "[]", ""}) {
    EXPECT_FALSE(ParseEndStatus(text).ok()) << text;
  }
}

TEST(UpgradeTest, ChecksTheAnswer) {
  std::string accept = http::WebSocketAccept("key");
  std::string good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nsec-websocket-accept: " + accept +
                     "\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
  EXPECT_EQ(*CheckUpgrade(good, "key"), "v5.channel.k8s.io");
  EXPECT_FALSE(CheckUpgrade(good, "other").ok());
  EXPECT_FALSE(
      CheckUpgrade("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n", "key").ok());
  EXPECT_EQ(CheckUpgrade("HTTP/1.1 404 Not Found\r\n\r\n", "key").status().message(),
            "the streaming server refused: 404 Not Found");
}

}  // namespace
}  // namespace davit::client
