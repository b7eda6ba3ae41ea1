#include "trust/simple_signing.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace davit::trust {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string Payload(std::string_view type) {
  return fmt::format(
      R"({{"critical":{{"type":"{}","image":{{"docker-manifest-digest":"{}"}},"identity":{{"docker-reference":"h.io/r:v1"}}}},"optional":{{"creator":"x"}}}})",
      type, kDigest);
}

TEST(SimpleSigningTest, ReadsBothKinds) {
  Result<SimplePayload> atomic = ParseSimplePayload(Payload("atomic container signature"), PayloadKind::kAtomic);
  ASSERT_TRUE(atomic.ok()) << atomic.status().message();
  EXPECT_EQ(atomic->digest.ToString(), kDigest);
  EXPECT_EQ(atomic->reference, "h.io/r:v1");
  EXPECT_TRUE(ParseSimplePayload(Payload("cosign container image signature"), PayloadKind::kCosign).ok());
}

TEST(SimpleSigningTest, KindsAreNotExchanged) {
  EXPECT_FALSE(ParseSimplePayload(Payload("cosign container image signature"), PayloadKind::kAtomic).ok());
  EXPECT_FALSE(ParseSimplePayload(Payload("atomic container signature"), PayloadKind::kCosign).ok());
}

TEST(SimpleSigningTest, RefusesOtherForms) {
  const std::string good = Payload("atomic container signature");
  for (size_t cut = 0; cut < good.size(); ++cut)
    EXPECT_FALSE(ParseSimplePayload(good.substr(0, cut), PayloadKind::kAtomic).ok()) << cut;
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {R"("optional":)", R"("more":1,"optional":)"},
           {R"("identity":)", R"("more":1,"identity":)"},
           {kDigest, "sha256:zz"},
           {kDigest, "md5:00"},
           {R"("docker-reference":"h.io/r:v1")", R"("docker-reference":7)"}}) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_FALSE(ParseSimplePayload(bad, PayloadKind::kAtomic).ok()) << bad;
  }
}

}  // namespace
}  // namespace davit::trust
