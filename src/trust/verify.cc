#include "trust/verify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>

#include "base/strings.h"
#include "http/base64.h"
#include "image/sha256.h"
#include "oci/image_spec.h"
#include "trust/identity.h"
#include "trust/openpgp.h"
#include "trust/sigstore.h"
#include "trust/simple_signing.h"

namespace davit::trust {
namespace {

using image::SignatureBlob;
using image::SignatureSet;

constexpr size_t kMaxReasons = 8;

std::string_view TypeName(RequirementType type) {
  switch (type) {
    case RequirementType::kAcceptAnything:
      return "insecureAcceptAnything";
    case RequirementType::kReject:
      return "reject";
    case RequirementType::kSignedBy:
      return "signedBy";
    case RequirementType::kSigstoreSigned:
      return "sigstoreSigned";
  }
  return "unknown";
}

// The digests that a signature of this image may be of.
Result<std::set<oci::Digest>> SubjectsOf(const image::Reference& asked, const SignatureSet& found) {
  ASSIGN_OR_RETURN(oci::Digest manifest, oci::Digest::Parse(found.manifest_digest));
  ASSIGN_OR_RETURN(oci::Digest top, oci::Digest::Parse(found.top_digest));
  std::set<oci::Digest> out = {manifest};
  if (top != manifest) {
    std::optional<std::string> text = http::Base64Decode(found.index);
    if (!text || image::Sha256::Of(*text) != top) return DataLoss("the index does not have its digest");
    // Each index lists the next by its digest, and the last one the manifest.
    for (size_t next = 0; next <= found.inner.size(); ++next) {
      ASSIGN_OR_RETURN(oci::Index index, oci::ParseIndex(*text));
      oci::Digest listed = manifest;
      if (next < found.inner.size()) {
        text = http::Base64Decode(found.inner[next]);
        if (!text) return DataLoss("an index within the index is no base64");
        listed = image::Sha256::Of(*text);
      }
      if (std::none_of(index.manifests.begin(), index.manifests.end(),
                       [&](const oci::Descriptor& item) { return item.digest == listed; }))
        return DataLoss("the index does not list the manifest");
    }
    out.insert(top);
  }
  if (!asked.digest().empty() && asked.digest() != found.top_digest && asked.digest() != found.manifest_digest)
    return DataLoss(fmt::format("the signatures are kept for {}", found.top_digest));
  return out;
}

Status CheckPayload(const Requirement& requirement, const image::Reference& asked,
                    const std::set<oci::Digest>& subjects, std::string_view text, PayloadKind kind) {
  ASSIGN_OR_RETURN(SimplePayload payload, ParseSimplePayload(text, kind));
  if (subjects.count(payload.digest) == 0)
    return PermissionDenied("the signature is of another digest, " + payload.digest.ToString());
  return MatchIdentity(requirement.identity, asked, payload.reference);
}

// Looks for one signature of `kind` that `check` takes; the error has the reason of each that it did not.
Status AnyOf(const SignatureSet& found, std::initializer_list<std::string_view> kinds,
             const std::function<Status(const SignatureBlob&)>& check) {
  std::vector<std::string> reasons;
  size_t seen = 0;
  for (const SignatureBlob& blob : found.signatures) {
    if (std::find(kinds.begin(), kinds.end(), blob.kind) == kinds.end()) continue;
    ++seen;
    Status status = check(blob);
    if (status.ok()) return status;
    if (status.code() == StatusCode::kFailedPrecondition || status.code() == StatusCode::kDeadlineExceeded)
      return status;  // of the node, not of the signature
    if (reasons.size() < kMaxReasons)
      reasons.push_back(fmt::format("{}: {}", Printable(blob.source, 200), status.message()));
  }
  if (seen > 0) return PermissionDenied(fmt::format("no signature counts: {}", fmt::join(reasons, "; ")));
  for (const std::string& note : found.notes) {
    if (reasons.size() < kMaxReasons) reasons.push_back(Printable(note, 300));
  }
  return PermissionDenied(reasons.empty() ? "there is no signature"
                                          : fmt::format("there is no signature ({})", fmt::join(reasons, "; ")));
}

Status CheckSignedBy(const Requirement& requirement, const image::Reference& asked,
                     const std::set<oci::Digest>& subjects, const SignatureSet& found, Deadline deadline) {
  std::optional<KeyRing> ring;
  return AnyOf(found, {"openpgp"}, [&](const SignatureBlob& blob) -> Status {
    std::optional<std::string> message = http::Base64Decode(blob.data);
    if (!message) return InvalidArgument("not base64");
    if (!ring) {
      Result<KeyRing> imported = KeyRing::Import(requirement.keys, deadline);
      if (!imported.ok()) return FailedPrecondition(imported.status().message());
      ring.emplace(std::move(*imported));
    }
    ASSIGN_OR_RETURN(std::string payload, ring->Open(*message, deadline));
    return CheckPayload(requirement, asked, subjects, payload, PayloadKind::kAtomic);
  });
}

Status CheckSigstore(const Decision& decision, const Requirement& requirement, const image::Reference& asked,
                     const std::set<oci::Digest>& subjects, const SignatureSet& found) {
  if (!requirement.unsupported.empty()) return Unimplemented(requirement.unsupported);
  ASSIGN_OR_RETURN(std::vector<PublicKey> keys, ReadPublicKeys(requirement.keys));
  ASSIGN_OR_RETURN(std::vector<PublicKey> log_keys, ReadPublicKeys(requirement.rekor_keys));
  if (keys.empty()) return InvalidArgument("no key");
  const auto cosign = [&](const SignatureBlob& blob) -> Status {
    std::optional<std::string> payload = http::Base64Decode(blob.data);
    std::optional<std::string> signature = http::Base64Decode(blob.signature);
    if (!payload || !signature) return InvalidArgument("not base64");
    const PublicKey* signer = FindSigner(keys, *payload, *signature);
    if (signer == nullptr) return PermissionDenied("it was not made with any of the keys");
    if (!log_keys.empty()) {
      std::optional<std::string> entry = http::Base64Decode(blob.log_entry);
      if (!entry || entry->empty()) return PermissionDenied("it has no log entry, and the policy wants one");
      RETURN_IF_ERROR(CheckLogEntry(*entry, log_keys, *payload, *signature, *signer));
    }
    return CheckPayload(requirement, asked, subjects, *payload, PayloadKind::kCosign);
  };
  const auto bundle = [&](const SignatureBlob& blob) -> Status {
    std::optional<std::string> text = http::Base64Decode(blob.data);
    if (!text) return InvalidArgument("not base64");
    ASSIGN_OR_RETURN(std::vector<BundleSubject> named, VerifyBundle(*text, keys, !log_keys.empty()));
    Status why = PermissionDenied("the signature is of another digest");
    for (const BundleSubject& subject : named) {
      if (subjects.count(subject.digest) == 0) continue;
      if (!subject.name.empty()) {
        why = MatchIdentity(requirement.identity, asked, subject.name);
      } else if (decision.accept_unnamed) {
        why = {};
      } else {
        why = PermissionDenied("it names no image, only a digest (davit.toml: image.accept_unnamed_signatures)");
      }
      if (why.ok()) return why;
    }
    return why;
  };
  return AnyOf(found, {"cosign", "bundle"},
               [&](const SignatureBlob& blob) { return blob.kind == "cosign" ? cosign(blob) : bundle(blob); });
}

}  // namespace

Status Refusal(const Decision& decision, const image::Reference& asked, size_t number, std::string_view why) {
  std::string rule = decision.file + (decision.scope.empty() ? "" : ", " + decision.scope);
  if (number > 0) {
    rule += fmt::format(", requirement {} ({})", number, TypeName(decision.requirements[number - 1].type));
  }
  return PermissionDenied(fmt::format("{}: {} is refused by {}: {}", kRefused, asked.String(), rule, why));
}

Status Verify(const Decision& decision, const image::Reference& asked, const SignatureSet& found, Deadline deadline) {
  Result<std::set<oci::Digest>> subjects = SubjectsOf(asked, found);
  if (!subjects.ok()) return Refusal(decision, asked, 0, subjects.status().message());
  if (decision.requirements.empty()) return Refusal(decision, asked, 0, "it has no requirements");
  for (size_t i = 0; i < decision.requirements.size(); ++i) {
    const Requirement& requirement = decision.requirements[i];
    Status status = PermissionDenied("unknown requirement");
    switch (requirement.type) {
      case RequirementType::kAcceptAnything:
        status = {};
        break;
      case RequirementType::kReject:
        status = PermissionDenied("the policy takes no such image");
        break;
      case RequirementType::kSignedBy:
        status = CheckSignedBy(requirement, asked, *subjects, found, deadline);
        break;
      case RequirementType::kSigstoreSigned:
        status = CheckSigstore(decision, requirement, asked, *subjects, found);
        break;
    }
    if (!status.ok()) return Refusal(decision, asked, i + 1, status.message());
  }
  return {};
}

}  // namespace davit::trust
