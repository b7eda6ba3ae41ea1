#include "oci/digest.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace davit::oci {
namespace {

const std::string kHex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(DigestTest, ParsesAndPrintsSha256) {
  auto digest = Digest::Parse("sha256:" + kHex);
  ASSERT_TRUE(digest.ok()) << digest.status().ToString();
  EXPECT_EQ(digest->algorithm(), DigestAlgorithm::kSha256);
  EXPECT_EQ(digest->hex(), kHex);
  EXPECT_EQ(digest->ToString(), "sha256:" + kHex);
  EXPECT_EQ(digest->raw().size(), 32u);
  EXPECT_EQ(static_cast<unsigned char>(digest->raw()[0]), 0xe3);
}

TEST(DigestTest, ParsesAndPrintsSha512) {
  auto digest = Digest::Parse("sha512:" + kHex + kHex);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->algorithm(), DigestAlgorithm::kSha512);
  EXPECT_EQ(digest->ToString(), "sha512:" + kHex + kHex);
}

TEST(DigestTest, RefusesEverythingElseAndNamesIt) {
  std::string upper = kHex;
  upper[0] = 'E';
  for (const std::string& text :
       {std::string(), std::string("sha256"), std::string("sha256:"), kHex, "sha256:" + kHex.substr(1),
        "sha256:" + kHex + "0", "sha256:" + upper, "SHA256:" + kHex, "sha512:" + kHex, "md5:" + kHex, " sha256:" + kHex,
        "sha256:" + kHex + "\n", std::string("sha256:../../../../etc/passwd"), "sha256::" + kHex,
        "sha256:" + kHex.substr(2) + "/.", "sha256:" + kHex.substr(1) + std::string(1, '\0')}) {
    auto digest = Digest::Parse(text);
    ASSERT_FALSE(digest.ok()) << text;
    EXPECT_EQ(digest.code(), StatusCode::kInvalidArgument);
  }
  EXPECT_NE(Digest::Parse("sha256:../x").status().message().find("sha256:../x"), std::string::npos);
}

TEST(DigestTest, BuildsFromRawBytes) {
  std::array<uint8_t, 32> bytes{};
  bytes[31] = 1;
  Digest digest = Digest::FromSha256(bytes);
  EXPECT_EQ(digest.hex(), std::string(63, '0') + "1");
  EXPECT_EQ(*Digest::FromRaw(DigestAlgorithm::kSha256, digest.raw()), digest);
  EXPECT_FALSE(Digest::FromRaw(DigestAlgorithm::kSha512, digest.raw()).ok());
  EXPECT_EQ(Digest::FromSha512({}).hex(), std::string(128, '0'));
}

TEST(DigestTest, EmptyIsNone) {
  EXPECT_TRUE(Digest().empty());
  EXPECT_EQ(Digest().ToString(), "");
  EXPECT_NE(Digest(), Digest::FromSha256({}));
}

TEST(DigestTest, ComparesAndHashes) {
  Digest a = *Digest::Parse("sha256:" + kHex);
  Digest b = Digest::FromSha256({});
  EXPECT_NE(a, b);
  EXPECT_LT(b, a);
  std::unordered_set<Digest> set = {a, b, a};
  EXPECT_EQ(set.size(), 2u);
}

}  // namespace
}  // namespace davit::oci
