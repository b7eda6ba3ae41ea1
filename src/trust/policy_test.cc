#include "trust/policy.h"

#include <gtest/gtest.h>

namespace davit::trust {
namespace {

Result<Policy> Parse(std::string_view text) {
  return Policy::Parse(text, "policy.json", [](const std::string& path) -> Result<std::string> {
    if (path == "/missing") return NotFound("no such file");
    return "bytes of " + path;
  });
}

std::string ScopeOf(const Policy& policy, std::string_view name) {
  return policy.For(*image::Reference::Parse(name)).scope;
}

TEST(PolicyTest, LongestScopeCounts) {
  Result<Policy> policy = Parse(R"({"default":[{"type":"reject"}],"transports":{"docker":{
    "":[{"type":"insecureAcceptAnything"}],
    "host.example.com:5000":[{"type":"reject"}],
    "host.example.com:5000/ns":[{"type":"reject"}],
    "host.example.com:5000/ns/repo":[{"type":"reject"}],
    "host.example.com:5000/ns/repo:v1":[{"type":"reject"}],
    "*.example.com":[{"type":"reject"}],
    "*.com":[{"type":"reject"}],
    "docker.io/library/busybox":[{"type":"reject"}]}}})");
  ASSERT_TRUE(policy.ok()) << policy.status().message();
  EXPECT_EQ(ScopeOf(*policy, "host.example.com:5000/ns/repo:v1"),
            R"(transports.docker["host.example.com:5000/ns/repo:v1"])");
  EXPECT_EQ(ScopeOf(*policy, "host.example.com:5000/ns/repo:v2"),
            R"(transports.docker["host.example.com:5000/ns/repo"])");
  EXPECT_EQ(ScopeOf(*policy, "host.example.com:5000/ns/repo2:v2"), R"(transports.docker["host.example.com:5000/ns"])");
  EXPECT_EQ(ScopeOf(*policy, "host.example.com:5000/ns2/repo"), R"(transports.docker["host.example.com:5000"])");
  EXPECT_EQ(ScopeOf(*policy, "a.b.example.com/x"), R"(transports.docker["*.example.com"])");
  EXPECT_EQ(ScopeOf(*policy, "example.com/x"), R"(transports.docker["*.com"])");
  EXPECT_EQ(ScopeOf(*policy, "example.org/x"), R"(transports.docker[""])");
  EXPECT_EQ(ScopeOf(*policy, "busybox"), R"(transports.docker["docker.io/library/busybox"])");
}

TEST(PolicyTest, DigestScope) {
  const std::string name = "h.io/r@sha256:" + std::string(64, 'a');
  Result<Policy> policy = Parse(R"({"default":[{"type":"reject"}],"transports":{"docker":{")" + name +
                                R"(":[{"type":"insecureAcceptAnything"}]}}})");
  ASSERT_TRUE(policy.ok());
  EXPECT_TRUE(policy->For(*image::Reference::Parse(name)).AcceptsAnything());
  EXPECT_FALSE(policy->For(*image::Reference::Parse("h.io/r:v1")).AcceptsAnything());
}

TEST(PolicyTest, RefusesWhatItDoesNotKnow) {
  for (
      const char* text : {
          "",
          "[]",
          "{}",
          R"({"default":[]})",
          R"({"default":{}})",
          R"({"default":[{}]})",
          R"({"default":[{"type":"accept"}]})",
          R"({"default":[{"type":"reject","x":1}]})",
          R"({"default":[{"type":"reject"}],"other":1})",
          R"({"default":[{"type":"reject"}],"default":[{"type":"reject"}]})",
          R"({"default":[{"type":"reject"}],"d\u0065fault":[{"type":"reject"}]})",
          R"({"default":[{"type":"reject"}],"transports":[]})",
          R"({"default":[{"type":"reject"}],"transports":{"docker":{"x.io":[]}}})",
          R"({"default":[{"type":"reject"}],"transports":{"docker":{"*x.io":[{"type":"reject"}]}}})",
          R"({"default":[{"type":"reject"}],"transports":{"docker":{"*.x.io/ns":[{"type":"reject"}]}}})",
          R"({"default":[{"type":"reject"}],"transports":{"atomic":{"x":[{"type":"?"}]}}})",
          R"({"default":[{"type":"signedBy"}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys"}]})",
          R"({"default":[{"type":"signedBy","keyType":"X509Certificates","keyPath":"/k"}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","keyData":"AAAA"}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPaths":[]}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/missing"}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyData":"?"}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"?"}}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"matchExact","x":1}}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"exactReference","dockerReference":"a/b"}}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"exactRepository","dockerRepository":"a/b:c"}}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"remapIdentity","prefix":"h.io"}}]})",
          R"({"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":null}]})",
          R"({"default":[{"type":"sigstoreSigned"}]})",
          R"({"default":[{"type":"sigstoreSigned","keyPath":"/k","fulcio":{}}]})",
          R"({"default":[{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/missing"}]})",
          R"({"default":[{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}]})",
      }) {
    Result<Policy> policy = Parse(text);
    EXPECT_FALSE(policy.ok()) << text;
    if (policy.ok()) continue;
    EXPECT_EQ(policy.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_TRUE(policy.status().message().starts_with("policy.json: ")) << policy.status().message();
  }
}

TEST(PolicyTest, ReadsEveryRequirement) {
  Result<Policy> policy = Parse(R"({"default":[
    {"type":"signedBy","keyType":"GPGKeys","keyPaths":["/a","/b"],"signedIdentity":{"type":"remapIdentity","prefix":"m.io/x","signedPrefix":"h.io"}},
    {"type":"sigstoreSigned","keyDatas":["AAAA","BBBB"],"rekorPublicKeyPath":"/r","signedIdentity":{"type":"exactRepository","dockerRepository":"h.io/r"}},
    {"type":"sigstoreSigned","fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"s"},"rekorPublicKeyPath":"/r"}]})");
  ASSERT_TRUE(policy.ok()) << policy.status().message();
  Decision decision = policy->For(*image::Reference::Parse("busybox"));
  EXPECT_EQ(decision.scope, "default");
  ASSERT_EQ(decision.requirements.size(), 3U);
  EXPECT_EQ(decision.requirements[0].keys.size(), 2U);
  EXPECT_EQ(decision.requirements[0].identity.signed_prefix, "h.io");
  EXPECT_EQ(decision.requirements[1].keys.size(), 2U);
  EXPECT_EQ(decision.requirements[1].rekor_keys.size(), 1U);
  EXPECT_FALSE(decision.requirements[2].unsupported.empty());
  EXPECT_FALSE(decision.AcceptsAnything());
  Result<Decision> again = DecodeDecision(EncodeDecision(decision));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->Fingerprint(), decision.Fingerprint());
  again->requirements[1].keys[0] = "CCCC";
  EXPECT_NE(again->Fingerprint(), decision.Fingerprint());
}

TEST(PolicyTest, AcceptanceNeedsEveryRequirementToAccept) {
  Result<Policy> policy = Parse(R"({"default":[{"type":"insecureAcceptAnything"},{"type":"reject"}]})");
  ASSERT_TRUE(policy.ok());
  EXPECT_FALSE(policy->For(*image::Reference::Parse("busybox")).AcceptsAnything());
}

}  // namespace
}  // namespace davit::trust
