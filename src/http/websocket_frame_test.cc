#include "http/websocket_frame.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/strings.h"

namespace davit::http {
namespace {

class Recorder final : public WebSocketVisitor {
 public:
  void OnMessagePiece(bool text, std::string_view bytes, bool first, bool last) override {
    if (first) log.push_back(text ? "text " : "binary ");
    log.back() += bytes;
    if (last) log.back() += "|";
  }
  void OnPingFrame(std::string_view payload) override { pings.emplace_back(payload); }
  void OnCloseFrame(uint16_t code) override { close = code; }
  std::vector<std::string> log;
  std::vector<std::string> pings;
  int close = 0;
};

constexpr std::string_view kMask = "\x37\xfa\x21\x3d";

TEST(WebSocketFrameTest, AcceptsKeyAsInRfc6455) {
  EXPECT_EQ(WebSocketAccept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_TRUE(IsWebSocketKey("dGhlIHNhbXBsZSBub25jZQ=="));
  EXPECT_FALSE(IsWebSocketKey("dGhlIHNhbXBsZSBub25jZQ"));
  EXPECT_FALSE(IsWebSocketKey("Zm9v"));
}

TEST(WebSocketFrameTest, MasksAsInRfc6455) {
  // Section 5.7.
  EXPECT_EQ(HexEncode(WebSocketFrame(WebSocketOpcode::kText, "Hello", kMask)), "818537fa213d7f9f4d5158");
  EXPECT_EQ(HexEncode(WebSocketFrame(WebSocketOpcode::kText, "Hello")), "810548656c6c6f");
}

TEST(WebSocketFrameTest, DecodesLengthsAndFragmentsAtEveryCut) {
  std::string medium(300, 'm');
  std::string bytes = WebSocketFrame(WebSocketOpcode::kBinary, "small", kMask);
  bytes += WebSocketFrame(WebSocketOpcode::kText, medium, kMask);
  std::string first = WebSocketFrame(WebSocketOpcode::kBinary, "one ", kMask);
  first[0] = static_cast<char>(0x02);  // without FIN
  bytes += first + WebSocketFrame(WebSocketOpcode::kPing, "p", kMask);
  bytes += WebSocketFrame(WebSocketOpcode::kContinuation, "two", kMask);
  bytes += WebSocketFrame(WebSocketOpcode::kBinary, "", kMask);
  bytes += WebSocketFrame(WebSocketOpcode::kClose, std::string("\x03\xe8", 2), kMask);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    Recorder recorder;
    WebSocketDecoder decoder(recorder, true);
    ASSERT_TRUE(decoder.Decode(std::string_view(bytes).substr(0, cut)).ok());
    ASSERT_TRUE(decoder.Decode(std::string_view(bytes).substr(cut)).ok());
    ASSERT_EQ(recorder.log,
              (std::vector<std::string>{"binary small|", "text " + medium + "|", "binary one two|", "binary |"}));
    ASSERT_EQ(recorder.pings, std::vector<std::string>{"p"});
    ASSERT_EQ(recorder.close, 1000);
  }
  std::string large(70000, 'l');
  Recorder recorder;
  ASSERT_TRUE(WebSocketDecoder(recorder, false).Decode(WebSocketFrame(WebSocketOpcode::kBinary, large)).ok());
  EXPECT_EQ(recorder.log, std::vector<std::string>{"binary " + large + "|"});
}

TEST(WebSocketFrameTest, RefusesBrokenFrames) {
  std::string ping_in_pieces = WebSocketFrame(WebSocketOpcode::kPing, "", kMask);
  ping_in_pieces[0] = 0x09;
  std::string reserved = WebSocketFrame(WebSocketOpcode::kBinary, "", kMask);
  reserved[0] = static_cast<char>(0xc2);
  std::string opcode = WebSocketFrame(static_cast<WebSocketOpcode>(5), "", kMask);
  std::string control = WebSocketFrame(static_cast<WebSocketOpcode>(11), "", kMask);
  std::string open = WebSocketFrame(WebSocketOpcode::kBinary, "a", kMask);
  open[0] = 0x02;
  const std::string kInputs[] = {
      WebSocketFrame(WebSocketOpcode::kBinary, "unmasked"),
      ping_in_pieces,
      reserved,
      opcode,
      control,
      WebSocketFrame(WebSocketOpcode::kContinuation, "a", kMask),
      open + WebSocketFrame(WebSocketOpcode::kBinary, "b", kMask),
      WebSocketFrame(WebSocketOpcode::kPing, std::string(126, 'x'), kMask),
      *HexDecode("82ff8000000000000000"
                 "00000000"),
  };
  for (const std::string& bytes : kInputs) {
    Recorder recorder;
    EXPECT_EQ(WebSocketDecoder(recorder, true).Decode(bytes).code(), StatusCode::kInvalidArgument) << HexEncode(bytes);
  }
}

}  // namespace
}  // namespace davit::http
