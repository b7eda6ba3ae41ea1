// Policy: whose images this node takes, as containers' policy.json says it.
//
// Reads the whole file at once, keys included, so that what was read is one value: a Decision is what holds for one
// image name, and its Fingerprint() changes whenever the rules, a key file's bytes or the name's scope do. Nothing here
// touches signatures (verify.h does, in a process of its own).
//
// Source: containers-policy.json(5). As there, whatever is not understood is an error of the whole file: an unknown or
// repeated key, an unknown type, an empty list of requirements.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/reference.h"

namespace davit::trust {

inline constexpr size_t kMaxPolicyBytes = 1 << 20;
inline constexpr size_t kMaxKeyBytes = 256 << 10;
inline constexpr size_t kMaxKeys = 64;  // of one requirement

// Which name a signature has to be for ("signedIdentity").
enum class IdentityRule : uint8_t {
  kMatchRepoDigestOrExact,
  kMatchExact,
  kMatchRepository,
  kExactReference,
  kExactRepository,
  kRemapIdentity,
};
struct SignedIdentity {
  IdentityRule rule = IdentityRule::kMatchRepoDigestOrExact;
  std::string reference;      // kExactReference: "host/name:tag"; kExactRepository: "host/name"
  std::string prefix;         // kRemapIdentity: of the image's name
  std::string signed_prefix;  // kRemapIdentity: what stands in its place in the signature
};

enum class RequirementType : uint8_t { kAcceptAnything, kReject, kSignedBy, kSigstoreSigned };
struct Requirement {
  RequirementType type = RequirementType::kReject;
  std::vector<std::string> keys;        // base64: OpenPGP key rings (kSignedBy) or PEM public keys (kSigstoreSigned)
  std::vector<std::string> rekor_keys;  // base64 of PEM: a log's, one of which has to have signed the log's promise
  SignedIdentity identity;
  std::string unsupported;  // why nothing can fulfil it here; empty: it can be fulfilled
};

// What holds for one image.
struct Decision {
  std::string file;   // for errors: where the rule is
  std::string scope;  // for errors: "default", "transports.docker[\"host/ns\"]"
  std::vector<Requirement> requirements;
  bool accept_unnamed = false;  // signatures that say a digest but no name; a choice of davit.toml

  [[nodiscard]] bool AcceptsAnything() const;
  [[nodiscard]] bool Wants(RequirementType type) const;
  [[nodiscard]] std::string Fingerprint() const;  // "sha256:…" over everything above
};

std::string EncodeDecision(const Decision& decision);
Result<Decision> DecodeDecision(std::string_view text);

class Policy {
 public:
  using ReadKey = std::function<Result<std::string>(const std::string& path)>;

  // kInvalidArgument "file: place: problem"; a key file that cannot be read is one too.
  static Result<Policy> Parse(std::string_view text, const std::string& file, const ReadKey& read_key);
  // kNotFound when there is no such file.
  static Result<Policy> Load(const std::string& file);

  // The longest scope that fits counts, alone: host[:port]/namespace/repo:tag or @digest, then the repository, its
  // namespaces, the host, *.wildcards of the host, transports.docker[""], default.
  [[nodiscard]] Decision For(const image::Reference& reference) const;

 private:
  std::string file_;
  std::vector<Requirement> default_;
  std::map<std::string, std::vector<Requirement>> docker_;
};

// The scopes that `reference` is in, longest first, without the two that fit everything.
std::vector<std::string> ScopesOf(const image::Reference& reference);

}  // namespace davit::trust
