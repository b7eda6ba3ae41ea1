#include "trust/identity.h"

#include <gtest/gtest.h>

namespace davit::trust {
namespace {

const std::string kA = "sha256:" + std::string(64, 'a');
const std::string kB = "sha256:" + std::string(64, 'b');

bool Fits(IdentityRule rule, const std::string& asked, const std::string& claimed) {
  SignedIdentity identity;
  identity.rule = rule;
  return MatchIdentity(identity, *image::Reference::Parse(asked), claimed).ok();
}

TEST(IdentityTest, MatchExact) {
  constexpr auto kRule = IdentityRule::kMatchExact;
  EXPECT_TRUE(Fits(kRule, "h.io/r:v1", "h.io/r:v1"));
  EXPECT_TRUE(Fits(kRule, "busybox", "docker.io/library/busybox:latest"));
  EXPECT_FALSE(Fits(kRule, "busybox", "busybox"));  // a repository names no image
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "h.io/r:v2"));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "h.io/r"));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "g.io/r:v1"));
  EXPECT_FALSE(Fits(kRule, "h.io/r@" + kA, "h.io/r:v1"));
  EXPECT_TRUE(Fits(kRule, "h.io/r@" + kA, "h.io/r@" + kA));
  EXPECT_FALSE(Fits(kRule, "h.io/r@" + kA, "h.io/r@" + kB));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", ""));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "not a name"));
}

TEST(IdentityTest, MatchRepoDigestOrExact) {
  constexpr auto kRule = IdentityRule::kMatchRepoDigestOrExact;
  EXPECT_TRUE(Fits(kRule, "h.io/r:v1", "h.io/r:v1"));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "h.io/r:v2"));
  EXPECT_TRUE(Fits(kRule, "h.io/r@" + kA, "h.io/r:anything"));
  EXPECT_FALSE(Fits(kRule, "h.io/r@" + kA, "h.io/other:anything"));
  EXPECT_TRUE(Fits(kRule, "h.io/r@" + kA, "h.io/r@" + kA));
  EXPECT_FALSE(Fits(kRule, "h.io/r@" + kA, "h.io/r@" + kB));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "h.io/r@" + kA));
}

TEST(IdentityTest, MatchRepository) {
  constexpr auto kRule = IdentityRule::kMatchRepository;
  EXPECT_TRUE(Fits(kRule, "h.io/r:v1", "h.io/r:v2"));
  EXPECT_TRUE(Fits(kRule, "h.io/r:v1", "h.io/r"));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "h.io/rr"));
  EXPECT_FALSE(Fits(kRule, "h.io/r:v1", "h.io:5000/r"));
}

TEST(IdentityTest, ExactReferenceAndRepository) {
  SignedIdentity rule;
  rule.rule = IdentityRule::kExactReference;
  rule.reference = "up.io/r:v1";
  const image::Reference asked = *image::Reference::Parse("mirror.io/x:y");
  EXPECT_TRUE(MatchIdentity(rule, asked, "up.io/r:v1").ok());
  EXPECT_FALSE(MatchIdentity(rule, asked, "up.io/r:v2").ok());
  EXPECT_FALSE(MatchIdentity(rule, asked, "mirror.io/x:y").ok());
  rule.rule = IdentityRule::kExactRepository;
  rule.reference = "up.io/r";
  EXPECT_TRUE(MatchIdentity(rule, asked, "up.io/r:v9").ok());
  EXPECT_FALSE(MatchIdentity(rule, asked, "up.io/rr:v9").ok());
}

TEST(IdentityTest, RemapIdentity) {
  SignedIdentity rule;
  rule.rule = IdentityRule::kRemapIdentity;
  rule.prefix = "mirror.io/vendor";
  rule.signed_prefix = "vendor.io";
  const auto fits = [&](const char* asked, const char* claimed) {
    return MatchIdentity(rule, *image::Reference::Parse(asked), claimed).ok();
  };
  EXPECT_TRUE(fits("mirror.io/vendor/a:v1", "vendor.io/a:v1"));
  EXPECT_FALSE(fits("mirror.io/vendor/a:v1", "mirror.io/vendor/a:v1"));
  EXPECT_FALSE(fits("mirror.io/vendor/a:v1", "vendor.io/b:v1"));
  EXPECT_TRUE(fits("mirror.io/vendor2/a:v1", "mirror.io/vendor2/a:v1"));  // the prefix is another's
  EXPECT_FALSE(fits("mirror.io/vendor2/a:v1", "vendor.io2/a:v1"));
}

TEST(IdentityTest, RefusalNamesBoth) {
  Status status = MatchIdentity({}, *image::Reference::Parse("h.io/r:v1"), "h.io/r:v2");
  EXPECT_EQ(status.code(), StatusCode::kPermissionDenied);
  EXPECT_NE(status.message().find("h.io/r:v1"), std::string::npos);
  EXPECT_NE(status.message().find("h.io/r:v2"), std::string::npos);
}

}  // namespace
}  // namespace davit::trust
