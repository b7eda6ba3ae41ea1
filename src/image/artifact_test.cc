#include "image/artifact.h"

#include <gtest/gtest.h>

namespace davit::image {
namespace {

oci::Manifest Make(std::map<std::string, std::string> annotations, std::string_view media_type = "text/plain") {
  oci::Manifest manifest;
  manifest.config.media_type = "application/vnd.oci.empty.v1+json";
  oci::Descriptor blob;
  blob.media_type = media_type;
  blob.digest = *oci::Digest::Parse("sha256:" + std::string(64, 'a'));
  blob.annotations = std::move(annotations);
  manifest.layers.push_back(std::move(blob));
  return manifest;
}

TEST(ArtifactTest, IsWhatHasNoImageConfig) {
  oci::Manifest manifest = Make({});
  EXPECT_TRUE(IsArtifact(manifest));
  EXPECT_EQ(ArtifactType(manifest), "application/vnd.oci.empty.v1+json");
  manifest.artifact_type = "application/vnd.acme.model";
  EXPECT_EQ(ArtifactType(manifest), "application/vnd.acme.model");
  manifest.config.media_type = oci::kMediaOciConfig;
  EXPECT_FALSE(IsArtifact(manifest)) << "an image with an artifactType runs";
  manifest.config.media_type.clear();
  EXPECT_FALSE(IsArtifact(manifest)) << "old images say nothing";
}

TEST(ArtifactTest, PathsAreTitlesOrDigests) {
  const std::string title = "org.opencontainers.image.title";
  EXPECT_EQ((*ArtifactFiles(Make({{title, "./models//m.bin"}})))[0].path, "models/m.bin");
  EXPECT_EQ((*ArtifactFiles(Make({})))[0].path, std::string(64, 'a'));
  // What oras gives to every file: the title says that it is one.
  EXPECT_EQ((*ArtifactFiles(Make({{title, "m.bin"}}, oci::kMediaOciLayer)))[0].path, "m.bin");
  EXPECT_EQ((*ArtifactFiles(Make({}, oci::kMediaOciLayerGzip)))[0].path, "") << "unpacked";
  EXPECT_EQ((*ArtifactFiles(Make({{title, "dir"}, {"io.deis.oras.content.unpack", "true"}})))[0].path, "");
  EXPECT_NE((*ArtifactFiles(Make({{title, "a"}})))[0].key, (*ArtifactFiles(Make({{title, "b"}})))[0].key);
  for (const std::string& evil :
       {std::string("../x"), std::string("/etc/passwd"), std::string("a/../../b"), std::string("."),
        std::string(".wh.x"), std::string(300, 'x'), std::string("a\0b", 3)}) {
    EXPECT_EQ(ArtifactFiles(Make({{title, evil}})).code(), StatusCode::kInvalidArgument) << evil;
  }
}

}  // namespace
}  // namespace davit::image
