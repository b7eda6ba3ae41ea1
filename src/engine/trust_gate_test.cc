#include "engine/trust_gate.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace davit::engine {
namespace {

const std::string kId = "sha256:" + std::string(64, 'c');
const std::string kTop = "sha256:" + std::string(64, 'a');

image::ImageRecord Image() {
  image::ImageRecord image;
  image.id = kId;
  image.manifest_digest = kTop;
  image.repo_tags = {"h.io/app:v1", "m.io/copy:v1"};
  image.repo_digests = {"h.io/app@" + kTop};
  return image;
}

std::vector<std::string> Names(const image::ImageRecord& image, const std::string& asked, const std::string& named) {
  std::vector<std::string> out;
  for (const image::Reference& name : NamesToTrust(image, asked, named, image::ShortNames()))
    out.push_back(name.String());
  std::sort(out.begin(), out.end());
  return out;
}

using List = std::vector<std::string>;

TEST(NamesToTrustTest, ANameOfTheImageCountsAlone) {
  EXPECT_EQ(Names(Image(), "h.io/app:v1", ""), List{"h.io/app:v1"});
  EXPECT_EQ(Names(Image(), kId, "m.io/copy:v1"), List{"m.io/copy:v1"});
  EXPECT_EQ(Names(Image(), "h.io/app@" + kTop, ""), List{"h.io/app@" + kTop});
}

TEST(NamesToTrustTest, WhatTheImageIsNotCalledIsNoName) {
  const List own = {"h.io/app:v1", "h.io/app@" + kTop, "m.io/copy:v1"};
  EXPECT_EQ(Names(Image(), kId, ""), own);
  EXPECT_EQ(Names(Image(), kId, "lenient.io/anything:v1"), own);
  EXPECT_EQ(Names(Image(), kId, "h.io/app:lenient"), own);
  EXPECT_EQ(Names(Image(), kId.substr(7, 12), "not a name"), own);
}

TEST(NamesToTrustTest, ANameThatAPolicyTookCounts) {
  image::ImageRecord image = Image();
  image.verdicts.push_back({"h.io/app:v1@" + kTop, kTop, "", "", "", 0});
  EXPECT_EQ(Names(image, kId, "h.io/app:v1@" + kTop), List{"h.io/app:v1@" + kTop});
}

TEST(NamesToTrustTest, AnImageWithoutNames) {
  image::ImageRecord image;
  image.id = kId;
  EXPECT_EQ(Names(image, kId, "h.io/app:v1"), List{});
}

}  // namespace
}  // namespace davit::engine
