#include "trust/sigstore.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "http/base64.h"
#include "image/sha256.h"
#include "trust/test_keys.h"

namespace davit::trust {
namespace {

using http::Base64Encode;

std::vector<PublicKey> Keys(const TestKey& key) { return *ReadPublicKeys({Base64Encode(key.Pem())}); }

TEST(SigstoreTest, VerifiesEachKind) {
  for (const char* kind : {"EC", "RSA", "ED25519"}) {
    const TestKey key(kind);
    const TestKey other(kind);
    const std::string signature = key.Sign("message");
    EXPECT_NE(FindSigner(Keys(key), "message", signature), nullptr) << kind;
    EXPECT_EQ(FindSigner(Keys(key), "massage", signature), nullptr) << kind;
    EXPECT_EQ(FindSigner(Keys(other), "message", signature), nullptr) << kind;
    for (size_t cut = 0; cut < signature.size(); ++cut)
      EXPECT_EQ(FindSigner(Keys(key), "message", signature.substr(0, cut)), nullptr) << kind;
  }
}

TEST(SigstoreTest, RefusesOtherKeys) {
  EXPECT_FALSE(PublicKey::FromPem("").ok());
  EXPECT_FALSE(PublicKey::FromPem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").ok());
  EXPECT_FALSE(PublicKey::FromPem(TestKey("RSA1024").Pem()).ok());
  EXPECT_FALSE(PublicKey::FromPem(TestKey("X25519").Pem()).ok());
}

std::string Statement(std::string_view predicate, std::string_view name, std::string_view hex) {
  return fmt::format(
      R"({{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"{}","digest":{{"sha256":"{}"}}}}],"predicateType":"{}","predicate":{{}}}})",
      name, hex, predicate);
}

std::string Envelope(const TestKey& key, const std::string& payload) {
  const std::string type = "application/vnd.in-toto+json";
  const std::string pae = fmt::format("DSSEv1 {} {} {} {}", type.size(), type, payload.size(), payload);
  return fmt::format(
      R"({{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{"hint":"x"}}}},"dsseEnvelope":{{"payload":"{}","payloadType":"{}","signatures":[{{"sig":"{}"}}]}}}})",
      Base64Encode(payload), type, Base64Encode(key.Sign(pae)));
}

constexpr std::string_view kSign = "https://sigstore.dev/cosign/sign/v1";

TEST(BundleTest, Envelope) {
  const TestKey key("EC");
  const std::string hex(64, 'a');
  Result<std::vector<BundleSubject>> named =
      VerifyBundle(Envelope(key, Statement(kSign, "h.io/r:v1", hex)), Keys(key), false);
  ASSERT_TRUE(named.ok()) << named.status().message();
  ASSERT_EQ(named->size(), 1U);
  EXPECT_EQ((*named)[0].digest.hex(), hex);
  EXPECT_EQ((*named)[0].name, "h.io/r:v1");
  EXPECT_EQ(VerifyBundle(Envelope(key, Statement(kSign, "x", hex)), Keys(TestKey("EC")), false).code(),
            StatusCode::kPermissionDenied);
}

TEST(BundleTest, AnAttestationIsNoSignature) {
  const TestKey key("EC");
  const std::string bundle = Envelope(key, Statement("https://slsa.dev/provenance/v1", "x", std::string(64, 'a')));
  EXPECT_FALSE(VerifyBundle(bundle, Keys(key), false).ok());
}

TEST(BundleTest, MessageSignature) {
  const TestKey key("EC");
  const oci::Digest digest = image::Sha256::Of("manifest");
  const auto bundle = [&](std::string_view raw) {
    return fmt::format(
        R"({{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{}}}},"messageSignature":{{"messageDigest":{{"algorithm":"SHA2_256","digest":"{}"}},"signature":"{}"}}}})",
        Base64Encode(raw), Base64Encode(key.Sign("manifest")));
  };
  Result<std::vector<BundleSubject>> named = VerifyBundle(bundle(digest.raw()), Keys(key), false);
  ASSERT_TRUE(named.ok()) << named.status().message();
  EXPECT_EQ((*named)[0].digest, digest);
  EXPECT_TRUE((*named)[0].name.empty());
  EXPECT_FALSE(VerifyBundle(bundle(image::Sha256::Of("other").raw()), Keys(key), false).ok());
}

TEST(BundleTest, RefusesWhatItCannotCheck) {
  const TestKey key("EC");
  const std::string good = Envelope(key, Statement(kSign, "x", std::string(64, 'a')));
  EXPECT_EQ(VerifyBundle(good, Keys(key), true).code(), StatusCode::kUnimplemented);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"bundle.v0.3", "bundle.v0.9"},
                                                                                 {"publicKey", "certificate"},
                                                                                 {"dsseEnvelope", "other"},
                                                                                 {"in-toto+json", "other"}}) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_FALSE(VerifyBundle(bad, Keys(key), false).ok()) << to;
  }
  for (size_t cut = 0; cut < good.size(); ++cut)
    EXPECT_FALSE(VerifyBundle(good.substr(0, cut), Keys(key), false).ok()) << cut;
}

std::string LogEntry(const TestKey& log, const TestKey& signer, const std::string& message,
                     const std::string& signature) {
  const std::string body = Base64Encode(fmt::format(
      R"({{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256","value":"{}"}}}},"signature":{{"content":"{}","publicKey":{{"content":"{}"}}}}}}}})",
      image::Sha256::Of(message).hex(), Base64Encode(signature), Base64Encode(signer.Pem())));
  const std::string promise =
      log.Sign(fmt::format(R"({{"body":"{}","integratedTime":7,"logID":"ab","logIndex":9}})", body));
  return fmt::format(
      R"({{"SignedEntryTimestamp":"{}","Payload":{{"body":"{}","integratedTime":7,"logIndex":9,"logID":"ab"}}}})",
      Base64Encode(promise), body);
}

TEST(LogEntryTest, HasToBeOfThisSignature) {
  const TestKey log("EC");
  const TestKey signer("EC");
  const std::string signature = signer.Sign("message");
  const std::string entry = LogEntry(log, signer, "message", signature);
  const PublicKey key = Keys(signer)[0];
  EXPECT_TRUE(CheckLogEntry(entry, Keys(log), "message", signature, key).ok());
  EXPECT_FALSE(CheckLogEntry(entry, Keys(TestKey("EC")), "message", signature, key).ok());
  EXPECT_FALSE(CheckLogEntry(entry, Keys(log), "other", signature, key).ok());
  EXPECT_FALSE(CheckLogEntry(entry, Keys(log), "message", "other", key).ok());
  EXPECT_FALSE(CheckLogEntry(entry, Keys(log), "message", signature, Keys(TestKey("EC"))[0]).ok());
  std::string later = entry;
  later.replace(later.find(":7,"), 3, ":8,");
  EXPECT_FALSE(CheckLogEntry(later, Keys(log), "message", signature, key).ok());
}

}  // namespace
}  // namespace davit::trust
