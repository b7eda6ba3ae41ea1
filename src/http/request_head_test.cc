#include "http/request_head.h"

#include <gtest/gtest.h>

namespace davit::http {
namespace {

TEST(RequestHeadTest, ParsesTargetQueryAndHeaders) {
  std::string text =
      "POST /exec/a%20b?port=80,81&port=82&x=a+b%26 HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n"
      "UPGRADE:  SPDY/3.1 \r\nX-Stream-Protocol-Version: a\r\nX-Stream-Protocol-Version: b, c\r\n\r\nrest";
  auto head = ParseRequestHead(text, 4096);
  ASSERT_TRUE(head.ok() && *head) << head.status().ToString();
  EXPECT_EQ((*head)->method, "POST");
  EXPECT_EQ((*head)->path, "/exec/a b");
  std::vector<std::pair<std::string, std::string>> query = {{"port", "80,81"}, {"port", "82"}, {"x", "a b&"}};
  EXPECT_EQ((*head)->query, query);
  EXPECT_EQ((*head)->Header("upgrade"), "SPDY/3.1");
  EXPECT_TRUE((*head)->HasToken("connection", "upgrade"));
  EXPECT_EQ((*head)->HeaderItems("x-stream-protocol-version"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(text.substr((*head)->bytes), "rest");
}

TEST(RequestHeadTest, WaitsForTheWholeHead) {
  std::string text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  for (size_t n = 0; n < text.size(); ++n) {
    auto head = ParseRequestHead(std::string_view(text).substr(0, n), 4096);
    ASSERT_TRUE(head.ok());
    EXPECT_FALSE(head->has_value());
  }
}

TEST(RequestHeadTest, RefusesMalformedHeads) {
  const std::string kHeads[] = {"GET / HTTP/1.0\r\n\r\n",
                                "GET /\r\n\r\n",
                                "GET  / HTTP/1.1\r\n\r\n",
                                "G(T / HTTP/1.1\r\n\r\n",
                                "GET http://x/ HTTP/1.1\r\n\r\n",
                                "GET /%zz HTTP/1.1\r\n\r\n",
                                "GET /%00 HTTP/1.1\r\n\r\n",
                                "GET / HTTP/1.1\r\nno colon\r\n\r\n",
                                "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
                                "GET / HTTP/1.1\r\nA : b\r\n\r\n",
                                "GET / HTTP/1.1\r\nA: b\nB: c\r\n\r\n",
                                "\r\n\r\n"};
  for (const std::string& text : kHeads) {
    EXPECT_EQ(ParseRequestHead(text, 4096).code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(RequestHeadTest, CapsSizeAndNumber) {
  EXPECT_EQ(ParseRequestHead("GET / HTTP/1.1\r\nA: " + std::string(5000, 'x'), 4096).code(),
            StatusCode::kResourceExhausted);
  std::string many = "GET / HTTP/1.1\r\n";
  for (size_t i = 0; i <= kMaxRequestHeaders; ++i) many += "A: b\r\n";
  EXPECT_EQ(ParseRequestHead(many + "\r\n", 65536).code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace davit::http
