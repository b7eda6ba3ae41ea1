#include "image/rootfs_archive.h"

#include <gtest/gtest.h>

#include "image/sha256.h"
#include "image/tar_builder.h"
#include "oci/image_spec.h"
#include "oci/import_config.h"
#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::image {
namespace {

class RootfsArchiveTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<RootfsArchive>> Open(const std::string& bytes, uint64_t max = 1 << 20) {
    EXPECT_TRUE(sys::WriteFileAtomic(dir_.At("rootfs.tar"), bytes, 0600, sys::Durability::kAtomic).ok());
    oci::ImportSettings settings;
    settings.changes = {"CMD /bin/app"};
    settings.created = "2026-01-02T03:04:05Z";
    settings.platform = {"amd64", "linux", "", ""};
    return RootfsArchive::Open(dir_.At("rootfs.tar"), *oci::MakeImportConfig(settings), max);
  }
  sys::TempDir dir_;
};

TEST_F(RootfsArchiveTest, IsAnImageOfOneLayer) {
  const std::string tar = TarBuilder().File("a", "b").Finish();
  auto archive = Open(tar);
  ASSERT_TRUE(archive.ok()) << archive.status().ToString();
  std::unique_ptr<ImageSource> source = (*archive)->Source();
  oci::Manifest manifest = *oci::ParseManifest(source->Manifest("")->text);
  ASSERT_EQ(manifest.layers.size(), 1U);
  EXPECT_EQ(manifest.layers[0].digest, Sha256::Of(tar));
  EXPECT_EQ(manifest.layers[0].size, tar.size());
  const std::string text = *source->SmallBlob(manifest.config.digest, manifest.config.size, 1 << 20);
  EXPECT_EQ(Sha256::Of(text), manifest.config.digest);
  EXPECT_EQ(text.size(), manifest.config.size);
  oci::ImageConfig config = *oci::ParseImageConfig(text);
  EXPECT_EQ(config.diff_ids, std::vector<oci::Digest>{Sha256::Of(tar)});
  EXPECT_EQ(config.cmd, (std::vector<std::string>{"/bin/sh", "-c", "/bin/app"}));
  std::string read;
  ASSERT_TRUE(source
                  ->Blob(manifest.layers[0].digest, tar.size(),
                         [&](std::string_view piece) {
                           read.append(piece);
                           return Status();
                         })
                  .ok());
  EXPECT_TRUE(read == tar);
}

TEST_F(RootfsArchiveTest, WhatIsNoneIsRefused) {
  EXPECT_EQ(Open("").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Open(std::string(2 << 20, 'x')).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Open("BZh91AY&SY").code(), StatusCode::kUnimplemented);
  EXPECT_EQ(Open(std::string("\x1f\x8b\x08\x00", 4)).code(), StatusCode::kDataLoss);
  EXPECT_EQ(RootfsArchive::Open(dir_.At("none"), "{}", 1).code(), StatusCode::kNotFound);
  EXPECT_EQ(RootfsArchive::Open(dir_.path(), "{}", 1).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace davit::image
