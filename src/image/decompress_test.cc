#include "image/decompress.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <string>

namespace davit::image {
namespace {

// Small spaces, so that every boundary is met.
class TextSink final : public OutputSink {
 public:
  explicit TextSink(size_t space) : space_(space), buffer_(space, '\0') {}
  Result<Space> GetSpace() override { return Space{buffer_.data(), space_}; }
  Status Produced(size_t bytes) override {
    text.append(buffer_.data(), bytes);
    return {};
  }
  std::string text;

 private:
  size_t space_;
  std::string buffer_;
};

std::string Gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string SomeText() {
  std::string text;
  unsigned x = 1;
  for (int i = 0; i < 60000; ++i) {
    x = x * 1103515245 + 12345;
    text += static_cast<char>(i % 3 == 0 ? x >> 16 : 'a' + i % 7);
  }
  return text;
}

Status Inflate(Compression compression, const std::string& input, size_t piece, TextSink& sink) {
  Result<std::unique_ptr<Decompressor>> made = Decompressor::Create(compression);
  RETURN_IF_ERROR(made.status());
  for (size_t at = 0; at < input.size(); at += piece) {
    RETURN_IF_ERROR((*made)->Write(std::string_view(input).substr(at, piece), sink));
  }
  return (*made)->Finish();
}

TEST(DecompressTest, RoundTripsWhateverThePieces) {
  const std::string text = SomeText();
  for (size_t piece : {1, 13, 4096, 1 << 20}) {
    for (size_t space : {1000, 65536, 1 << 20}) {
      TextSink plain(space), gzip(space), zstd(space);
      ASSERT_TRUE(Inflate(Compression::kNone, text, piece, plain).ok());
      EXPECT_EQ(plain.text, text);
      ASSERT_TRUE(Inflate(Compression::kGzip, Gzip(text), piece, gzip).ok()) << piece << " " << space;
      EXPECT_TRUE(gzip.text == text) << piece << " " << space;
      ASSERT_TRUE(Inflate(Compression::kZstd, Zstd(text), piece, zstd).ok()) << piece << " " << space;
      EXPECT_TRUE(zstd.text == text) << piece << " " << space;
    }
  }
}

TEST(DecompressTest, TakesConcatenatedMembersAndFrames) {
  const std::string text = SomeText().substr(0, 3000);
  const std::string gzip = Gzip(text) + Gzip("") + Gzip("tail");
  for (size_t piece = 1; piece < 200; ++piece) {
    TextSink sink(512);
    Status status = Inflate(Compression::kGzip, gzip, piece, sink);
    ASSERT_TRUE(status.ok()) << piece << ": " << status.ToString();
    ASSERT_EQ(sink.text, text + "tail") << piece;
  }
  TextSink sink(512);
  ASSERT_TRUE(Inflate(Compression::kZstd, Zstd(text) + Zstd("tail"), 7, sink).ok());
  EXPECT_EQ(sink.text, text + "tail");
}

TEST(DecompressTest, EveryTruncationAndFlipIsDataLoss) {
  const std::string text = SomeText().substr(0, 2000);
  for (Compression compression : {Compression::kGzip, Compression::kZstd}) {
    const std::string good = compression == Compression::kGzip ? Gzip(text) : Zstd(text);
    for (size_t size = 0; size < good.size(); size += 11) {
      TextSink sink(4096);
      EXPECT_EQ(Inflate(compression, good.substr(0, size), 64, sink).code(), StatusCode::kDataLoss) << size;
    }
    std::string bad = good;
    bad[good.size() / 2] = static_cast<char>(bad[good.size() / 2] ^ 0x55);
    TextSink sink(4096);
    Status status = Inflate(compression, bad, 64, sink);
    EXPECT_TRUE(!status.ok() || sink.text != text);
  }
  TextSink sink(4096);
  EXPECT_EQ(Inflate(Compression::kGzip, Gzip(text) + "garbage after the end", 64, sink).code(), StatusCode::kDataLoss);
}

TEST(DecompressTest, ChecksMagicAgainstMediaType) {
  const std::string gz = Gzip("x"), zs = Zstd("x");
  EXPECT_EQ(*LayerCompression(oci::kMediaOciLayerGzip, gz), Compression::kGzip);
  EXPECT_EQ(*LayerCompression(oci::kMediaOciLayerZstd, zs), Compression::kZstd);
  EXPECT_EQ(*LayerCompression(oci::kMediaOciLayer, "plain"), Compression::kNone);
  EXPECT_EQ(*LayerCompression(oci::kMediaDockerLayerGzip, zs), Compression::kZstd);
  EXPECT_EQ(LayerCompression(oci::kMediaOciLayerGzip, zs).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(LayerCompression(oci::kMediaOciLayer, gz).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(LayerCompression("application/x", gz).code(), StatusCode::kUnimplemented);
  EXPECT_EQ(DetectCompression("BZh91").code(), StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace davit::image
