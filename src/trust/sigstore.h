// Sigstore signatures by public keys: cosign's payload and signature, bundles, and a log's signed promise, all offline.
// Source: cosign's SIGNATURE_SPEC, the sigstore protobuf-specs (bundle v0.3), DSSE v1, in-toto Statement v1, Rekor's
// hashedrekord 0.0.1.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "oci/digest.h"

struct evp_pkey_st;

namespace davit::trust {

inline constexpr size_t kMaxBundleBytes = 1 << 20;

// ECDSA and RSA (PKCS #1 v1.5), both with SHA-256, or Ed25519.
class PublicKey {
 public:
  // A PEM "PUBLIC KEY". kInvalidArgument for another kind, RSA of fewer than 2048 bits.
  static Result<PublicKey> FromPem(std::string_view pem);
  [[nodiscard]] bool Verifies(std::string_view message, std::string_view signature) const;
  // Of a SHA-256 that is known; never for Ed25519, which signs whole messages.
  [[nodiscard]] bool VerifiesDigest(const oci::Digest& digest, std::string_view signature) const;
  [[nodiscard]] bool SameAs(const PublicKey& other) const;

 private:
  explicit PublicKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}
  std::shared_ptr<evp_pkey_st> key_;
};

// Keys of a requirement (base64 of PEM). Any that cannot be read is an error.
Result<std::vector<PublicKey>> ReadPublicKeys(const std::vector<std::string>& keys);

// The first of `keys` that made `signature` over `message`; null: none of them.
const PublicKey* FindSigner(const std::vector<PublicKey>& keys, std::string_view message, std::string_view signature);

// Cosign's annotation dev.sigstore.cosign/bundle: whether one of `log_keys` promised to have logged that `signer` made
// `signature` over `message`. kPermissionDenied or kInvalidArgument saying what does not fit.
Status CheckLogEntry(std::string_view entry, const std::vector<PublicKey>& log_keys, std::string_view message,
                     std::string_view signature, const PublicKey& signer);

// What a bundle says once its signature has been checked.
struct BundleSubject {
  oci::Digest digest;
  std::string name;  // empty: it names none
};
// kPermissionDenied: none of `keys` signed it; kUnimplemented: certificates, a log entry where `log_keys` has some;
// kInvalidArgument: malformed. A DSSE envelope has to be a signature of cosign (an attestation by the same key is
// none).
Result<std::vector<BundleSubject>> VerifyBundle(std::string_view text, const std::vector<PublicKey>& keys,
                                                bool log_wanted);

}  // namespace davit::trust
