#include "image/archive.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "image/sha256.h"
#include "image/tar_builder.h"
#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::image {
namespace {

std::string Gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

class ArchiveTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Archive>> Open(const std::string& bytes, uint64_t max = 1 << 20) {
    EXPECT_TRUE(sys::WriteFileAtomic(dir_.At("archive"), bytes, 0600, sys::Durability::kAtomic).ok());
    return Archive::Open(dir_.At("archive"), dir_.path(), max);
  }
  static std::string Blob(const Archive& archive, const std::string& bytes) {
    std::string read;
    Status status = archive.Source(0)->Blob(Sha256::Of(bytes), bytes.size(), [&](std::string_view piece) {
      read.append(piece);
      return Status();
    });
    return status.ok() ? read : status.ToString();
  }

  sys::TempDir dir_;
  const std::string config_ = R"({"os":"linux"})";
  const std::string layer_ = TarBuilder().File("a", std::string(100'000, 'x')).Finish();
  TarBuilder Docker() {
    return TarBuilder()
        .File("one/layer.tar", layer_)
        .Link("two/layer.tar", '2', "../one/layer.tar")
        .File("config.json", config_)
        .File("manifest.json",
              R"([{"Config":"config.json","RepoTags":["a/b:1","c:2"],"Layers":["one/layer.tar","two/layer.tar"]}])");
  }
  std::string Layout(const std::string& annotations = R"({"org.opencontainers.image.ref.name":"a/b:1"})") {
    const std::string manifest = R"({"schemaVersion":2})";
    const std::string digest = Sha256::Of(manifest).ToString();
    return TarBuilder()
        .File("oci-layout", R"({"imageLayoutVersion":"1.0.0"})")
        .File(
            "index.json",
            R"({"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
                digest + R"(","size":)" + std::to_string(manifest.size()) + R"(,"annotations":)" + annotations + "}]}")
        .File("./blobs/sha256/" + digest.substr(7), manifest)
        .File("blobs/sha256/" + Sha256::Of(layer_).hex(), layer_)
        .Finish();
  }
};

TEST_F(ArchiveTest, DockerArchivesGetAManifest) {
  for (bool compressed : {false, true}) {
    auto archive = Open(compressed ? Gzip(Docker().Finish()) : Docker().Finish());
    ASSERT_TRUE(archive.ok()) << archive.status().ToString();
    ASSERT_EQ((*archive)->images().size(), 1u);
    const Archive::Image& image = (*archive)->images()[0];
    EXPECT_EQ(image.names, (std::vector<std::string>{"a/b:1", "c:2"}));
    EXPECT_FALSE(image.own_digests);
    oci::Manifest manifest = *oci::ParseManifest(image.top.text);
    ASSERT_EQ(manifest.layers.size(), 2u);
    EXPECT_EQ(manifest.layers[0].digest, Sha256::Of(layer_));
    EXPECT_EQ(manifest.layers[1].digest, manifest.layers[0].digest) << "a link to the first";
    EXPECT_EQ(*(*archive)->Source(0)->SmallBlob(manifest.config.digest, config_.size(), 1000), config_);
    EXPECT_TRUE(Blob(**archive, layer_) == layer_);
  }
}

TEST_F(ArchiveTest, LayoutsKeepTheirDigests) {
  auto archive = Open(Layout());
  ASSERT_TRUE(archive.ok()) << archive.status().ToString();
  EXPECT_EQ((*archive)->images()[0].names, std::vector<std::string>{"a/b:1"});
  EXPECT_TRUE((*archive)->images()[0].own_digests);
  EXPECT_TRUE(Blob(**archive, layer_) == layer_);
  ASSERT_TRUE((archive = Open(Layout(R"({"org.opencontainers.image.ref.name":"latest"})"))).ok());
  EXPECT_TRUE((*archive)->images()[0].names.empty()) << "a bare tag names no image";
}

TEST_F(ArchiveTest, WhatIsNoArchiveIsSaid) {
  EXPECT_EQ(Open("no tar").code(), StatusCode::kDataLoss);
  EXPECT_EQ(Open(TarBuilder().File("x", "y").Finish()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Open(TarBuilder().File("manifest.json", "[]").Finish()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Open(TarBuilder().File("manifest.json", std::string(5 << 20, ' ')).Finish()).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Archive::Open(dir_.At("none"), dir_.path(), 1).code(), StatusCode::kNotFound);
  EXPECT_EQ(Open(Gzip(Docker().Finish()), 1000).code(), StatusCode::kResourceExhausted) << "a bomb";
  for (const char* evil :
       {R"([{"Config":"../../etc/passwd","Layers":[]}])", R"([{"Config":"/etc/passwd","Layers":[]}])",
        R"([{"Config":"config.json","Layers":["missing"]}])"}) {
    EXPECT_EQ(Open(TarBuilder().File("config.json", "{}").File("manifest.json", evil).Finish()).code(),
              StatusCode::kNotFound)
        << evil;
  }
  const std::string loop = TarBuilder()
                               .Link("config.json", '2', "other")
                               .Link("other", '2', "config.json")
                               .File("manifest.json", R"([{"Config":"config.json","Layers":[]}])")
                               .Finish();
  EXPECT_EQ(Open(loop).code(), StatusCode::kNotFound);
}

TEST_F(ArchiveTest, TruncationIsDataLoss) {
  const std::string whole = Layout();
  auto archive = Open(whole.substr(0, whole.size() - 60'000));
  ASSERT_TRUE(archive.ok()) << archive.status().ToString();
  EXPECT_NE(Blob(**archive, layer_).find("ends within"), std::string::npos);
}

TEST_F(ArchiveTest, ADirectoryIsNotLeft) {
  ASSERT_TRUE(sys::MakeDirectories(dir_.At("layout/blobs/sha256"), 0755).ok());
  ASSERT_EQ(::symlink("/etc/passwd", dir_.At("layout/manifest.json").c_str()), 0);
  EXPECT_FALSE(Archive::Open(dir_.At("layout"), dir_.path(), 1).ok());
}

}  // namespace
}  // namespace davit::image
