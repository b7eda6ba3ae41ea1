#include "oci/image_spec.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::oci {
namespace {

using ::testing::HasSubstr;

std::string Sha(char digit) { return "sha256:" + std::string(64, digit); }

std::string DescriptorText(std::string_view type, char digit, std::string_view more = "") {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":12{}}})", type, Sha(digit), more);
}

std::string ManifestText(std::string_view media_type = kMediaOciManifest, std::string_view more = "") {
  return fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{},{}]{}}})", media_type,
                     DescriptorText(kMediaOciConfig, 'a'), DescriptorText(kMediaOciLayerGzip, 'b'),
                     DescriptorText(kMediaOciLayerZstd, 'c'), more);
}

std::string IndexText(std::string_view media_type = kMediaOciIndex, std::string_view more = "") {
  return fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{}]{}}})", media_type,
                     DescriptorText(kMediaOciManifest, 'd', R"(,"platform":{"architecture":"amd64","os":"linux"})"),
                     more);
}

TEST(ManifestTest, ReadsConfigAndLayersInOrder) {
  auto manifest = ParseManifest(ManifestText(kMediaOciManifest, R"(,"annotations":{"k":"v"},"unknown":{"x":[1]})"));
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  EXPECT_EQ(manifest->config.digest.ToString(), Sha('a'));
  ASSERT_EQ(manifest->layers.size(), 2u);
  EXPECT_EQ(manifest->layers[0].digest.ToString(), Sha('b'));
  EXPECT_EQ(manifest->layers[1].media_type, kMediaOciLayerZstd);
  EXPECT_EQ(manifest->layers[1].size, 12u);
  EXPECT_EQ(manifest->annotations.at("k"), "v");
}

TEST(ManifestTest, ReadsDockerAndTypelessDocuments) {
  EXPECT_TRUE(ParseManifest(ManifestText(kMediaDockerManifest)).ok());
  EXPECT_TRUE(ParseManifest(ManifestText("")).ok());
  EXPECT_TRUE(ParseIndex(IndexText(kMediaDockerIndex)).ok());
}

TEST(ManifestTest, RefusesBadDescriptors) {
  auto with_config = [](std::string_view config) {
    return ParseManifest(fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[]}})", config)).status();
  };
  EXPECT_THAT(with_config(R"({"digest":"sha256:../../x","size":1})").message(),
              HasSubstr("manifest.config.digest: digest"));
  EXPECT_THAT(with_config(fmt::format(R"({{"digest":"{}","size":-1}})", Sha('a'))).message(),
              HasSubstr("negative size"));
  EXPECT_THAT(with_config(fmt::format(R"({{"digest":"{}"}})", Sha('a'))).message(),
              HasSubstr("manifest.config.size: missing"));
  EXPECT_THAT(with_config(fmt::format(R"({{"digest":"{}","size":9223372036854775808}})", Sha('a'))).message(),
              HasSubstr("too large"));
  EXPECT_THAT(with_config("[]").message(), HasSubstr("expected a descriptor"));
}

TEST(ManifestTest, CapsLayersAndManifests) {
  std::string layers;
  for (size_t i = 0; i <= kMaxLayers; ++i) layers += (i ? "," : "") + DescriptorText(kMediaOciLayer, 'b');
  auto manifest = ParseManifest(
      fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]}})", DescriptorText(kMediaOciConfig, 'a'), layers));
  EXPECT_EQ(manifest.code(), StatusCode::kResourceExhausted);
  std::string entries;
  for (size_t i = 0; i <= kMaxIndexManifests; ++i) entries += (i ? "," : "") + DescriptorText(kMediaOciManifest, 'b');
  EXPECT_EQ(ParseIndex(fmt::format(R"({{"manifests":[{}]}})", entries)).code(), StatusCode::kResourceExhausted);
}

TEST(ManifestKindTest, GoesByShapeWhenNothingElseIsKnown) {
  EXPECT_EQ(*DetectManifestKind(ManifestText(""), ""), ManifestKind::kManifest);
  EXPECT_EQ(*DetectManifestKind(IndexText(""), "application/json"), ManifestKind::kIndex);
  EXPECT_EQ(*DetectManifestKind(IndexText(), "Application/vnd.oci.image.index.v1+json; charset=utf-8"),
            ManifestKind::kIndex);
}

TEST(ManifestKindTest, RefusesAmbiguousDocuments) {
  EXPECT_THAT(DetectManifestKind(ManifestText("", R"(,"manifests":[])"), "").status().message(),
              HasSubstr("ambiguous"));
  EXPECT_THAT(DetectManifestKind(IndexText("", R"(,"layers":[])"), "").status().message(), HasSubstr("ambiguous"));
  EXPECT_THAT(DetectManifestKind(IndexText("", R"(,"Layers":[])"), "").status().message(), HasSubstr("ambiguous key"));
  EXPECT_FALSE(ParseManifest(ManifestText("", R"(,"manifests":[])")).ok());
  EXPECT_FALSE(ParseIndex(IndexText("", R"(,"config":{})")).ok());
}

TEST(ManifestKindTest, RefusesDisagreeingMediaTypes) {
  EXPECT_FALSE(DetectManifestKind(ManifestText(kMediaOciIndex), "").ok());
  EXPECT_FALSE(DetectManifestKind(IndexText(kMediaDockerManifest), "").ok());
  EXPECT_FALSE(DetectManifestKind(IndexText(), kMediaOciManifest).ok());
  EXPECT_FALSE(DetectManifestKind(ManifestText(), "application/vnd.oci.image.index.v1+json;x=y").ok());
  EXPECT_EQ(DetectManifestKind(ManifestText("application/vnd.example"), "").code(), StatusCode::kUnimplemented);
}

TEST(ManifestTest, WhatIsMadeIsReadAgain) {
  Descriptor config{std::string(kMediaOciConfig), *Digest::Parse("sha256:" + std::string(64, 'c')), 7, {}, {}, {}};
  Descriptor layer{std::string(kMediaOciLayerGzip), *Digest::Parse("sha256:" + std::string(64, 'a')), 8, {}, {}, {}};
  const std::string text = MakeManifest(kMediaOciManifest, config, {layer, layer});
  EXPECT_EQ(*DetectManifestKind(text, kMediaOciManifest), ManifestKind::kManifest);
  Result<Manifest> read = ParseManifest(text);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->media_type, kMediaOciManifest);
  EXPECT_EQ(read->config.digest, config.digest);
  EXPECT_EQ(read->config.size, 7u);
  ASSERT_EQ(read->layers.size(), 2u);
  EXPECT_EQ(read->layers[1].media_type, kMediaOciLayerGzip);
  EXPECT_EQ(read->layers[1].size, 8u);
}

TEST(ManifestKindTest, RefusesSchema1ByName) {
  auto kind = DetectManifestKind(R"({"schemaVersion":1,"name":"x","fsLayers":[{"blobSum":"y"}]})", "");
  EXPECT_EQ(kind.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(kind.status().message(), HasSubstr("schema 1"));
}

TEST(ManifestKindTest, RefusesOtherShapes) {
  for (std::string_view text : {"[]", "{}", "1", "null", R"({"schemaVersion":3,"manifests":[]})",
                                R"({"schemaVersion":"2","manifests":[]})", R"({"mediaType":1,"manifests":[]})"}) {
    EXPECT_FALSE(DetectManifestKind(text, "").ok()) << text;
  }
}

TEST(LayerKindTest, KnowsCompressionAndForeignLayers) {
  EXPECT_EQ(LayerKindOf(kMediaDockerLayerGzip)->compression, LayerCompression::kGzip);
  EXPECT_EQ(LayerKindOf(kMediaOciLayerZstd)->compression, LayerCompression::kZstd);
  EXPECT_EQ(LayerKindOf(kMediaOciLayer)->compression, LayerCompression::kNone);
  EXPECT_TRUE(LayerKindOf(kMediaDockerForeignLayer)->foreign);
  EXPECT_FALSE(LayerKindOf("application/vnd.oci.image.layer.v1.tar+gzip+encrypted").has_value());
}

}  // namespace
}  // namespace davit::oci
