#include "http/spdy_frame.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "base/strings.h"

namespace davit::http {
namespace {

// Writes down what it is told.
class Recorder final : public SpdyVisitor {
 public:
  void OnSynStream(uint32_t id, bool fin, bool uni, const SpdyHeaders& headers) override {
    Add("syn", id, (fin ? " fin" : "") + std::string(uni ? " uni" : "") + Text(headers));
  }
  void OnSynReply(uint32_t id, bool fin, const SpdyHeaders& headers) override {
    Add("reply", id, (fin ? " fin" : "") + Text(headers));
  }
  void OnHeaders(uint32_t id, bool fin, const SpdyHeaders& headers) override {
    Add("headers", id, (fin ? " fin" : "") + Text(headers));
  }
  void OnDataPiece(uint32_t id, std::string_view bytes, bool fin) override {
    // Pieces depend on the cuts: join them.
    std::string start = "data " + std::to_string(id) + " ";
    if (log.empty() || !log.back().starts_with(start) || log.back().ends_with("|")) log.push_back(start);
    log.back() += bytes;
    if (fin) log.back() += "|";
  }
  void OnRstStream(uint32_t id, uint32_t code) override { Add("rst", id, " " + std::to_string(code)); }
  void OnPing(uint32_t id) override { Add("ping", id, ""); }
  void OnGoAway(uint32_t id, uint32_t code) override { Add("goaway", id, " " + std::to_string(code)); }
  void OnWindowUpdate(uint32_t id, uint32_t delta) override { Add("window", id, " " + std::to_string(delta)); }
  std::vector<std::string> log;

 private:
  void Add(std::string what, uint32_t id, const std::string& rest) {
    log.push_back(std::move(what) + " " + std::to_string(id) + rest);
  }
  static std::string Text(const SpdyHeaders& headers) {
    std::string text;
    for (const auto& [name, value] : headers) text += " " + name + "=" + value;
    return text;
  }
};

std::string Everything() {
  SpdyEncoder encoder;
  std::string bytes = encoder.SynStream(1, false, {{"streamtype", "error"}, {"port", "80"}});
  bytes += encoder.SynStream(3, true, {{"streamtype", "data"}});
  bytes += encoder.SynReply(1, false, {});
  bytes += SpdyEncoder::DataHead(1, 5, false) + "hello" + SpdyEncoder::DataHead(1, 0, true);
  bytes += SpdyEncoder::RstStream(3, SpdyReset::kCancel) + SpdyEncoder::Ping(7) + SpdyEncoder::WindowUpdate(1, 4096);
  bytes += SpdyEncoder::GoAway(3, 0);
  return bytes;
}
const std::vector<std::string> kEverything = {"syn 1 port=80 streamtype=error",
                                              "syn 3 fin streamtype=data",
                                              "reply 1",
                                              "data 1 hello|",
                                              "rst 3 5",
                                              "ping 7",
                                              "window 1 4096",
                                              "goaway 3 0"};

TEST(SpdyHeadersTest, DictionaryIsTheProtocols) {
  std::string dictionary = SpdyDictionary();
  EXPECT_EQ(dictionary.size(), 1423U);
  EXPECT_EQ(::adler32(::adler32(0, nullptr, 0), reinterpret_cast<const Bytef*>(dictionary.data()),
                      static_cast<uInt>(dictionary.size())),
            0xe3c6a7c2U);
}

TEST(SpdyFrameTest, RoundTripsAtEveryCut) {
  std::string bytes = Everything();
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    Recorder recorder;
    SpdyDecoder decoder(recorder);
    ASSERT_TRUE(decoder.Decode(std::string_view(bytes).substr(0, cut)).ok());
    ASSERT_TRUE(decoder.Decode(std::string_view(bytes).substr(cut)).ok());
    ASSERT_EQ(recorder.log, kEverything) << cut;
  }
  Recorder recorder;
  SpdyDecoder decoder(recorder);
  for (char c : bytes) ASSERT_TRUE(decoder.Decode(std::string_view(&c, 1)).ok());
  EXPECT_EQ(recorder.log, kEverything);
}

TEST(SpdyFrameTest, WritesTheBytesOfTheSpecification) {
  EXPECT_EQ(HexEncode(SpdyEncoder::Ping(1)), "800300060000000400000001");
  EXPECT_EQ(HexEncode(SpdyEncoder::RstStream(5, SpdyReset::kRefusedStream)), "80030003000000080000000500000003");
  EXPECT_EQ(HexEncode(SpdyEncoder::WindowUpdate(0, 65536)), "80030009000000080000000000010000");
  EXPECT_EQ(HexEncode(SpdyEncoder::GoAway(9, 0)), "80030007000000080000000900000000");
  EXPECT_EQ(HexEncode(SpdyEncoder::DataHead(7, 0x010203, true)), "0000000701010203");
  // The header of a compressed block names the dictionary: FDICT and its Adler-32.
  EXPECT_EQ(HexEncode(SpdyEncoder().SynReply(1, true, {})).substr(0, 8), "80030002");
  EXPECT_EQ(HexEncode(SpdyEncoder().SynReply(1, true, {})).substr(8, 2), "01");
  EXPECT_EQ(HexEncode(SpdyEncoder().SynReply(1, true, {})).substr(28, 8), "e3c6a7c2");
}

TEST(SpdyFrameTest, RefusesMalformedFrames) {
  const char* const kFrames[] = {
      "8002000600000004"
      "00000001",  // version 2
      "8003000600000005"
      "0000000100",  // a ping of five bytes
      "8003000300000004"
      "00000001",  // a short RST_STREAM
      "8003000700000004"
      "00000001",  // a short GOAWAY
      "8003000100000006"
      "000000010000",  // a short SYN_STREAM
      "8003000200000006"
      "00000000ffff",  // stream 0
      "8003000200000008"
      "00000001ffffffff",  // not zlib
      "0000000000000001"
      "00",  // data for stream 0
  };
  for (const char* hex : kFrames) {
    Recorder recorder;
    SpdyDecoder decoder(recorder);
    EXPECT_EQ(decoder.Decode(*HexDecode(hex)).code(), StatusCode::kInvalidArgument) << hex;
  }
}

TEST(SpdyFrameTest, CapsControlFramesAndHeaderBlocks) {
  Recorder recorder;
  EXPECT_EQ(SpdyDecoder(recorder)
                .Decode(*HexDecode("80030001"
                                   "00ffffff"))
                .code(),
            StatusCode::kResourceExhausted);
  // A small frame that inflates to more than the cap.
  std::string bomb = SpdyEncoder().SynStream(1, false, {{"a", std::string(kMaxSpdyHeaderBlock + 1, 'x')}});
  ASSERT_LT(bomb.size(), kMaxSpdyControlFrame);
  EXPECT_EQ(SpdyDecoder(recorder).Decode(bomb).code(), StatusCode::kResourceExhausted);
  SpdyHeaders many;
  for (size_t i = 0; i <= kMaxSpdyHeaders; ++i) many["h" + std::to_string(i)] = "";
  EXPECT_EQ(SpdyDecoder(recorder).Decode(SpdyEncoder().SynStream(1, false, many)).code(),
            StatusCode::kResourceExhausted);
  EXPECT_TRUE(recorder.log.empty());
}

TEST(SpdyFrameTest, SkipsSettingsAndUnknownFrames) {
  Recorder recorder;
  SpdyDecoder decoder(recorder);
  ASSERT_TRUE(decoder
                  .Decode(*HexDecode("800300040000000c"
                                     "000000010000000700010000"
                                     "8003006300000001"
                                     "ff"))
                  .ok());
  ASSERT_TRUE(decoder.Decode(SpdyEncoder::Ping(1)).ok());
  EXPECT_EQ(recorder.log, (std::vector<std::string>{"ping 1"}));
}

// Not a fuzzer, but every build runs it: any damaged byte is an error or other frames, never worse.
TEST(SpdyFrameTest, SurvivesEveryDamagedByte) {
  std::string good = Everything();
  for (size_t i = 0; i < good.size(); ++i) {
    for (unsigned char flip : {0x01, 0x80, 0xff}) {
      std::string bytes = good;
      bytes[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]) ^ flip);
      Recorder recorder;
      SpdyDecoder decoder(recorder);
      IgnoreError(decoder.Decode(bytes));
    }
  }
}

}  // namespace
}  // namespace davit::http
