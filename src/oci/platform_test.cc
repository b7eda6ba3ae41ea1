#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oci/image_spec.h"

namespace davit::oci {
namespace {

using ::testing::HasSubstr;

Index MakeIndex(const std::vector<std::optional<Platform>>& platforms) {
  Index index;
  for (const auto& platform : platforms) {
    Descriptor descriptor;
    descriptor.media_type = kMediaOciManifest;
    descriptor.size = index.manifests.size();  // tells the entries apart
    descriptor.platform = platform;
    index.manifests.push_back(descriptor);
  }
  return index;
}

int Chosen(const Index& index, const Platform& wanted) {
  auto descriptor = SelectPlatform(index, wanted);
  return descriptor.ok() ? static_cast<int>(descriptor->size) : -1;
}

const Platform kAmd64{"amd64", "linux", "", ""};
const Platform kArm64{"arm64", "linux", "v8", ""};
const Platform kArmV7{"arm", "linux", "v7", ""};

TEST(PlatformTest, TakesTheFirstExactMatch) {
  Index index = MakeIndex(
      {Platform{"arm64", "linux", "v8", ""}, Platform{"amd64", "linux", "", ""}, Platform{"amd64", "linux", "", ""}});
  EXPECT_EQ(Chosen(index, kAmd64), 1);
  EXPECT_EQ(Chosen(index, kArm64), 0);
}

TEST(PlatformTest, NormalForms) {
  EXPECT_EQ(Chosen(MakeIndex({Platform{"aarch64", "Linux", "", ""}}), kArm64), 0);
  EXPECT_EQ(Chosen(MakeIndex({Platform{"x86_64", "linux", "", ""}}), kAmd64), 0);
  EXPECT_EQ(Chosen(MakeIndex({Platform{"amd64", "linux", "v1", ""}}), kAmd64), 0);
  EXPECT_EQ(Chosen(MakeIndex({Platform{"arm", "linux", "7", ""}}), kArmV7), 0);
  EXPECT_EQ(NormalizePlatform({"arm", "linux", "", ""}).variant, "v7");
}

TEST(PlatformTest, ArmTakesTheHighestLowerVariant) {
  Index index = MakeIndex(
      {Platform{"arm", "linux", "v5", ""}, Platform{"arm", "linux", "v6", ""}, Platform{"arm", "linux", "v8", ""}});
  EXPECT_EQ(Chosen(index, kArmV7), 1);
  EXPECT_EQ(Chosen(MakeIndex({Platform{"arm64", "linux", "v9", ""}}), kArm64), -1);
}

TEST(PlatformTest, X86LevelsAreNotGuessed) {
  EXPECT_EQ(Chosen(MakeIndex({Platform{"amd64", "linux", "v3", ""}, Platform{"amd64", "linux", "", ""}}), kAmd64), 1);
}

TEST(PlatformTest, AttestationsNeverMatch) {
  EXPECT_EQ(Chosen(MakeIndex({Platform{"unknown", "unknown", "", ""}}), kAmd64), -1);
}

TEST(PlatformTest, ASingleEntryWithoutPlatformIsTheLastResort) {
  EXPECT_EQ(Chosen(MakeIndex({std::nullopt}), kAmd64), 0);
  EXPECT_EQ(Chosen(MakeIndex({std::nullopt, Platform{"amd64", "linux", "", ""}}), kAmd64), 1);
  EXPECT_EQ(Chosen(MakeIndex({std::nullopt, std::nullopt}), kAmd64), -1);
}

TEST(PlatformTest, TheErrorNamesTheOffers) {
  auto chosen =
      SelectPlatform(MakeIndex({Platform{"s390x", "linux", "", ""}, Platform{"amd64", "windows", "", ""}}), kArm64);
  ASSERT_EQ(chosen.code(), StatusCode::kNotFound);
  EXPECT_THAT(chosen.status().message(),
              HasSubstr("no image for linux/arm64/v8: the index offers linux/s390x, windows/amd64"));
  EXPECT_THAT(SelectPlatform({}, kArm64).status().message(), HasSubstr("offers nothing"));
}

TEST(PlatformTest, TheHostHasOne) {
  EXPECT_EQ(HostPlatform().os, "linux");
  EXPECT_FALSE(HostPlatform().architecture.empty());
}

}  // namespace
}  // namespace davit::oci
