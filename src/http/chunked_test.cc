#include "http/chunked.h"

#include <gtest/gtest.h>

namespace davit::http {
namespace {

TEST(ChunkedTest, DecodesAnyCut) {
  const std::string wire = "5;name=\"x\"\r\nhello\r\nA\r\n, world!!!\r\n0\r\nTrailer: t\r\n\r\nGET /next";
  for (size_t cut = 1; cut < wire.size(); ++cut) {
    ChunkedDecoder decoder;
    std::string body;
    std::string rest;
    for (std::string_view piece : {std::string_view(wire).substr(0, cut), std::string_view(wire).substr(cut)}) {
      std::string input = rest + std::string(piece);
      std::string_view view = input;
      ASSERT_TRUE(decoder.Decode(view, body).ok()) << cut;
      rest = view;
    }
    EXPECT_TRUE(decoder.done());
    EXPECT_EQ(body, "hello, world!!!");
    EXPECT_EQ(rest, "GET /next");
  }
}

TEST(ChunkedTest, RefusesWhatIsNotOfTheCoding) {
  for (std::string_view wire :
       {"x\r\n", "\r\n", "5\nhello", "3\r\nhello\r\n", "-1\r\n", "ffffffffffffffff\r\n", "0x5\r\n"}) {
    ChunkedDecoder decoder;
    std::string body;
    std::string_view view = wire;
    EXPECT_EQ(decoder.Decode(view, body).code(), StatusCode::kInvalidArgument) << wire;
  }
}

TEST(ChunkedTest, WritesOneChunk) {
  EXPECT_EQ(Chunk("0123456789abcdef"), "10\r\n0123456789abcdef\r\n");
  EXPECT_EQ(Chunk(""), "");
}

}  // namespace
}  // namespace davit::http
