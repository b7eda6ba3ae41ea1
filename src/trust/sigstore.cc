#include "trust/sigstore.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "http/base64.h"
#include "image/sha256.h"
#include "oci/json.h"

namespace davit::trust {
namespace {

using oci::JsonNode;

constexpr std::string_view kSignPredicate = "https://sigstore.dev/cosign/sign/v1";
constexpr size_t kMaxSubjects = 64;

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};

const unsigned char* Bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

Result<std::string> Decoded(const JsonNode& node) {
  ASSIGN_OR_RETURN(std::string text, node.String());
  std::optional<std::string> bytes = http::Base64Decode(text);
  if (!bytes) return node.Error("is not base64");
  return *bytes;
}

Result<std::vector<BundleSubject>> StatementSubjects(std::string_view text) {
  ASSIGN_OR_RETURN(boost::json::value json, oci::ParseJson(text, kMaxBundleBytes, 32));
  const JsonNode root(json, "statement");
  ASSIGN_OR_RETURN(std::string type, root.Key("_type").String());
  if (type != "https://in-toto.io/Statement/v1" && type != "https://in-toto.io/Statement/v0.1")
    return root.Key("_type").Error(fmt::format("unknown \"{}\"", Printable(type)));
  ASSIGN_OR_RETURN(std::string predicate, root.Key("predicateType").String());
  if (predicate != kSignPredicate)
    return root.Key("predicateType").Error(fmt::format("\"{}\" is an attestation, no signature", Printable(predicate)));
  ASSIGN_OR_RETURN(std::vector<JsonNode> subjects, root.Key("subject").Elements(kMaxSubjects));
  std::vector<BundleSubject> out;
  for (const JsonNode& subject : subjects) {
    ASSIGN_OR_RETURN(std::string hex, subject.Key("digest").Key("sha256").String());
    BundleSubject item;
    ASSIGN_OR_RETURN(item.digest, oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, hex));
    ASSIGN_OR_RETURN(item.name, subject.Key("name").StringOr(""));
    out.push_back(std::move(item));
  }
  if (out.empty()) return root.Key("subject").Error("is empty");
  return out;
}

Result<std::vector<BundleSubject>> VerifyEnvelope(const JsonNode& envelope, const std::vector<PublicKey>& keys) {
  ASSIGN_OR_RETURN(std::string payload, Decoded(envelope.Key("payload")));
  ASSIGN_OR_RETURN(std::string type, envelope.Key("payloadType").String());
  if (type != "application/vnd.in-toto+json")
    return envelope.Key("payloadType").Error(fmt::format("unknown \"{}\"", Printable(type)));
  // DSSE v1, "Pre-Authentication Encoding".
  const std::string signed_bytes = fmt::format("DSSEv1 {} {} {} {}", type.size(), type, payload.size(), payload);
  ASSIGN_OR_RETURN(std::vector<JsonNode> signatures, envelope.Key("signatures").Elements(16));
  for (const JsonNode& node : signatures) {
    ASSIGN_OR_RETURN(std::string signature, Decoded(node.Key("sig")));
    if (FindSigner(keys, signed_bytes, signature) != nullptr) return StatementSubjects(payload);
  }
  return PermissionDenied("it was not made with any of the keys");
}

Result<std::vector<BundleSubject>> VerifyMessage(const JsonNode& message, const std::vector<PublicKey>& keys) {
  ASSIGN_OR_RETURN(std::string algorithm, message.Key("messageDigest").Key("algorithm").String());
  if (algorithm != "SHA2_256")
    return message.Error(fmt::format("the hash \"{}\" is not supported", Printable(algorithm)));
  ASSIGN_OR_RETURN(std::string raw, Decoded(message.Key("messageDigest").Key("digest")));
  ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::FromRaw(oci::DigestAlgorithm::kSha256, raw));
  ASSIGN_OR_RETURN(std::string signature, Decoded(message.Key("signature")));
  for (const PublicKey& key : keys) {
    if (key.VerifiesDigest(digest, signature)) return std::vector<BundleSubject>{{digest, ""}};
  }
  return PermissionDenied("it was not made with any of the keys");
}

}  // namespace

Result<PublicKey> PublicKey::FromPem(std::string_view pem) {
  std::unique_ptr<BIO, Free> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::unique_ptr<EVP_PKEY, Free> key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!key) return InvalidArgument("not a PEM public key");
  const int kind = EVP_PKEY_get_base_id(key.get());
  if (kind != EVP_PKEY_EC && kind != EVP_PKEY_RSA && kind != EVP_PKEY_ED25519)
    return InvalidArgument("a public key of an unsupported kind: ECDSA, RSA and Ed25519 are known");
  if (kind == EVP_PKEY_RSA && EVP_PKEY_get_bits(key.get()) < 2048)
    return InvalidArgument("an RSA key of fewer than 2048 bits");
  return PublicKey(std::shared_ptr<EVP_PKEY>(key.release(), Free()));
}

bool PublicKey::Verifies(std::string_view message, std::string_view signature) const {
  std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  const bool whole = EVP_PKEY_get_base_id(key_.get()) == EVP_PKEY_ED25519;
  return context &&
         EVP_DigestVerifyInit(context.get(), nullptr, whole ? nullptr : EVP_sha256(), nullptr, key_.get()) == 1 &&
         EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(message), message.size()) == 1;
}

bool PublicKey::VerifiesDigest(const oci::Digest& digest, std::string_view signature) const {
  const int kind = EVP_PKEY_get_base_id(key_.get());
  if (kind == EVP_PKEY_ED25519 || digest.algorithm() != oci::DigestAlgorithm::kSha256 || digest.empty()) return false;
  std::unique_ptr<EVP_PKEY_CTX, Free> context(EVP_PKEY_CTX_new(key_.get(), nullptr));
  if (!context || EVP_PKEY_verify_init(context.get()) != 1) return false;
  if (kind == EVP_PKEY_RSA && EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_PADDING) != 1) return false;
  if (EVP_PKEY_CTX_set_signature_md(context.get(), EVP_sha256()) != 1) return false;
  return EVP_PKEY_verify(context.get(), Bytes(signature), signature.size(), Bytes(digest.raw()), digest.raw().size()) ==
         1;
}

bool PublicKey::SameAs(const PublicKey& other) const { return EVP_PKEY_eq(key_.get(), other.key_.get()) == 1; }

Result<std::vector<PublicKey>> ReadPublicKeys(const std::vector<std::string>& keys) {
  std::vector<PublicKey> out;
  for (const std::string& key : keys) {
    std::optional<std::string> pem = http::Base64Decode(key);
    if (!pem) return InvalidArgument("a key is not base64");
    ASSIGN_OR_RETURN(PublicKey parsed, PublicKey::FromPem(*pem));
    out.push_back(std::move(parsed));
  }
  return out;
}

const PublicKey* FindSigner(const std::vector<PublicKey>& keys, std::string_view message, std::string_view signature) {
  for (const PublicKey& key : keys) {
    if (key.Verifies(message, signature)) return &key;
  }
  return nullptr;
}

Status CheckLogEntry(std::string_view entry, const std::vector<PublicKey>& log_keys, std::string_view message,
                     std::string_view signature, const PublicKey& signer) {
  ASSIGN_OR_RETURN(boost::json::value json, oci::ParseJson(entry, kMaxBundleBytes, 16));
  const JsonNode root(json, "log entry");
  const JsonNode payload = root.Key("Payload");
  ASSIGN_OR_RETURN(std::string promise, Decoded(root.Key("SignedEntryTimestamp")));
  ASSIGN_OR_RETURN(std::string encoded, payload.Key("body").String());
  ASSIGN_OR_RETURN(int64_t time, payload.Key("integratedTime").Int64());
  ASSIGN_OR_RETURN(int64_t index, payload.Key("logIndex").Int64());
  ASSIGN_OR_RETURN(std::string id, payload.Key("logID").String());
  // The log signs its entry in canonical JSON (RFC 8785): keys in order, no blanks.
  const std::string promised = fmt::format(R"({{"body":{},"integratedTime":{},"logID":{},"logIndex":{}}})",
                                           oci::QuoteJson(encoded), time, oci::QuoteJson(id), index);
  if (FindSigner(log_keys, promised, promise) == nullptr)
    return PermissionDenied("the log entry was not signed with any of the rekorPublicKeys");
  std::optional<std::string> body = http::Base64Decode(encoded);
  if (!body) return InvalidArgument("the log entry's body is not base64");
  ASSIGN_OR_RETURN(boost::json::value record, oci::ParseJson(*body, kMaxBundleBytes, 16));
  const JsonNode logged(record, "log entry");
  ASSIGN_OR_RETURN(std::string kind, logged.Key("kind").String());
  ASSIGN_OR_RETURN(std::string version, logged.Key("apiVersion").String());
  if (kind != "hashedrekord" || version != "0.0.1")
    return Unimplemented(
        fmt::format("log entries of kind {} {} are not supported", Printable(kind), Printable(version)));
  const JsonNode spec = logged.Key("spec");
  ASSIGN_OR_RETURN(std::string algorithm, spec.Key("data").Key("hash").Key("algorithm").String());
  ASSIGN_OR_RETURN(std::string hash, spec.Key("data").Key("hash").Key("value").String());
  ASSIGN_OR_RETURN(std::string content, Decoded(spec.Key("signature").Key("content")));
  ASSIGN_OR_RETURN(std::string pem, Decoded(spec.Key("signature").Key("publicKey").Key("content")));
  ASSIGN_OR_RETURN(PublicKey key, PublicKey::FromPem(pem));
  if (algorithm != "sha256" || hash != image::Sha256::Of(message).hex() || content != signature || !key.SameAs(signer))
    return PermissionDenied("the log entry is of another signature");
  return {};
}

Result<std::vector<BundleSubject>> VerifyBundle(std::string_view text, const std::vector<PublicKey>& keys,
                                                bool log_wanted) {
  ASSIGN_OR_RETURN(boost::json::value json, oci::ParseJson(text, kMaxBundleBytes, 32));
  const JsonNode root(json, "bundle");
  ASSIGN_OR_RETURN(std::string type, root.Key("mediaType").String());
  if (type != "application/vnd.dev.sigstore.bundle.v0.3+json" &&
      type != "application/vnd.dev.sigstore.bundle+json;version=0.3")
    return Unimplemented(fmt::format("bundles of type \"{}\" are not supported", Printable(type)));
  const JsonNode material = root.Key("verificationMaterial");
  if (!material.Key("publicKey").present())
    return Unimplemented("the bundle is by a certificate: only public keys are supported");
  if (log_wanted) return Unimplemented("log entries within bundles are not supported, and the policy wants one");
  const JsonNode envelope = root.Key("dsseEnvelope");
  const JsonNode message = root.Key("messageSignature");
  if (envelope.present() == message.present()) return root.Error("needs one of dsseEnvelope, messageSignature");
  return envelope.present() ? VerifyEnvelope(envelope, keys) : VerifyMessage(message, keys);
}

}  // namespace davit::trust
