#include "trust/verify.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "http/base64.h"
#include "image/sha256.h"
#include "trust/test_keys.h"

namespace davit::trust {
namespace {

using http::Base64Encode;

const std::string kManifest = image::Sha256::Of("manifest").ToString();

class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() {
    decision_.file = "policy.json";
    decision_.scope = "default";
    decision_.requirements = {Sigstore(key_)};
    found_.top_digest = found_.manifest_digest = kManifest;
  }
  static Requirement Sigstore(const TestKey& key) {
    Requirement out;
    out.type = RequirementType::kSigstoreSigned;
    out.keys = {Base64Encode(key.Pem())};
    return out;
  }
  static image::SignatureBlob Cosign(const TestKey& key, std::string_view digest, std::string_view name) {
    const std::string payload = fmt::format(
        R"({{"critical":{{"type":"cosign container image signature","image":{{"docker-manifest-digest":"{}"}},"identity":{{"docker-reference":"{}"}}}},"optional":null}})",
        digest, name);
    return {"cosign", "layer 1", Base64Encode(payload), Base64Encode(key.Sign(payload)), ""};
  }
  Status Check(std::string_view asked = "h.io/r:v1") {
    return Verify(decision_, *image::Reference::Parse(asked), found_, Deadline::After(std::chrono::seconds(60)));
  }
  void ExpectRefused(std::string_view part) {
    Status status = Check();
    EXPECT_EQ(status.code(), StatusCode::kPermissionDenied);
    EXPECT_TRUE(status.message().starts_with("SignatureValidationFailed: ")) << status.message();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }

  TestKey key_{"EC"};
  TestKey other_{"EC"};
  Decision decision_;
  image::SignatureSet found_;
};

TEST_F(VerifyTest, Accepts) {
  found_.signatures = {Cosign(other_, kManifest, "h.io/r:v1"), Cosign(key_, kManifest, "h.io/r:v1")};
  EXPECT_TRUE(Check().ok()) << Check().message();
}

TEST_F(VerifyTest, RefusalSaysTheRule) {
  ExpectRefused("h.io/r:v1 is refused by policy.json, default, requirement 1 (sigstoreSigned): there is no signature");
}

TEST_F(VerifyTest, RefusesEachWrongPart) {
  found_.signatures = {Cosign(other_, kManifest, "h.io/r:v1")};
  ExpectRefused("not made with any of the keys");
  found_.signatures = {Cosign(key_, image::Sha256::Of("x").ToString(), "h.io/r:v1")};
  ExpectRefused("of another digest");
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v2")};
  ExpectRefused("for \"h.io/r:v2\"");
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v1")};
  found_.signatures[0].signature.resize(8);
  ExpectRefused("not made with any of the keys");
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v1"), Cosign(key_, kManifest, "h.io/r:v2")};
  std::swap(found_.signatures[0].signature, found_.signatures[1].signature);
  ExpectRefused("not made with any of the keys");
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v1")};
  found_.signatures[0].kind = "openpgp";
  ExpectRefused("there is no signature");
}

TEST_F(VerifyTest, EveryRequirementHasToHold) {
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v1")};
  decision_.requirements.push_back(Sigstore(other_));
  ExpectRefused("requirement 2 (sigstoreSigned)");
  found_.signatures.push_back(Cosign(other_, kManifest, "h.io/r:v1"));
  EXPECT_TRUE(Check().ok());
  Requirement reject;
  reject.type = RequirementType::kReject;
  decision_.requirements.push_back(reject);
  ExpectRefused("requirement 3 (reject)");
  decision_.requirements.clear();
  ExpectRefused("no requirements");
}

TEST_F(VerifyTest, WhatIsNotSupportedIsNoAcceptance) {
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v1")};
  decision_.requirements[0].unsupported = "fulcio is not supported";
  ExpectRefused("fulcio is not supported");
}

TEST_F(VerifyTest, AWantedLogEntry) {
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v1")};
  decision_.requirements[0].rekor_keys = {Base64Encode(other_.Pem())};
  ExpectRefused("no log entry");
}

TEST_F(VerifyTest, ASignatureOfTheIndexThatListsTheManifest) {
  const auto index = [](const std::string& digest) {
    return fmt::format(
        R"({{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":7,"platform":{{"os":"linux","architecture":"amd64"}}}}]}})",
        digest);
  };
  const std::string text = index(kManifest);
  found_.index = Base64Encode(text);
  found_.top_digest = image::Sha256::Of(text).ToString();
  found_.signatures = {Cosign(key_, found_.top_digest, "h.io/r:v1")};
  EXPECT_TRUE(Check().ok()) << Check().message();
  const std::string foreign = index(image::Sha256::Of("x").ToString());
  found_.index = Base64Encode(foreign);
  ExpectRefused("the index does not have its digest");
  found_.top_digest = image::Sha256::Of(foreign).ToString();
  found_.signatures = {Cosign(key_, found_.top_digest, "h.io/r:v1")};
  ExpectRefused("does not list the manifest");
}

TEST_F(VerifyTest, ASignatureOfAnIndexThatListsTheIndexThatListsTheManifest) {
  const auto index = [](const std::string& kind, const std::string& digest) {
    return fmt::format(
        R"({{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.{}.v1+json","digest":"{}","size":7}}]}})",
        kind, digest);
  };
  const std::string inner = index("manifest", kManifest);
  const std::string outer = index("index", image::Sha256::Of(inner).ToString());
  found_.index = Base64Encode(outer);
  found_.inner = {Base64Encode(inner)};
  found_.top_digest = image::Sha256::Of(outer).ToString();
  found_.signatures = {Cosign(key_, found_.top_digest, "h.io/r:v1")};
  EXPECT_TRUE(Check().ok()) << Check().message();
  found_.inner = {Base64Encode(index("manifest", image::Sha256::Of("x").ToString()))};
  ExpectRefused("does not list the manifest");  // the outer one names another
  found_.inner.clear();
  ExpectRefused("does not list the manifest");
}

TEST_F(VerifyTest, ABundleWithoutANameNeedsTheAdministratorsWord) {
  found_.signatures = {
      {"bundle", "b",
       Base64Encode(fmt::format(
           R"({{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{}}}},"messageSignature":{{"messageDigest":{{"algorithm":"SHA2_256","digest":"{}"}},"signature":"{}"}}}})",
           Base64Encode(image::Sha256::Of("manifest").raw()), Base64Encode(key_.Sign("manifest")))),
       "", ""}};
  ExpectRefused("it names no image");
  decision_.accept_unnamed = true;
  EXPECT_TRUE(Check().ok()) << Check().message();
}

TEST_F(VerifyTest, AnotherDigestThanTheOneAskedFor) {
  found_.signatures = {Cosign(key_, kManifest, "h.io/r:v1")};
  EXPECT_TRUE(Check("h.io/r@" + kManifest).ok());
  EXPECT_FALSE(Check("h.io/r@" + image::Sha256::Of("x").ToString()).ok());
}

}  // namespace
}  // namespace davit::trust
