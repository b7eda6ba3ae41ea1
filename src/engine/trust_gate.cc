#include "engine/trust_gate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>

#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "engine/namespace_file.h"
#include "store/content.h"
#include "trust/lookaside.h"
#include "trust/verifier.h"

namespace davit::engine {
namespace {

constexpr std::chrono::seconds kVerifyBudget{90};
constexpr std::string_view kRefused = "SignatureValidationFailed";

Status Refused(const std::string& name, std::string_view why) {
  return PermissionDenied(fmt::format("{}: {} is refused: {}", kRefused, name, why));
}

Status RefusedBy(const trust::Decision& decision, const std::string& name, std::string_view why) {
  return PermissionDenied(
      fmt::format("{}: {} is refused by {}, {}: {}", kRefused, name, decision.file, decision.scope, why));
}

Result<bool> Exists(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return ErrnoError(errno, path);
}

}  // namespace

std::vector<image::Reference> NamesToTrust(const image::ImageRecord& image, const std::string& asked,
                                           const std::string& named, const image::ShortNames& names) {
  std::vector<image::Reference> own;
  for (const std::vector<std::string>* list : {&image.repo_tags, &image.repo_digests}) {
    for (const std::string& text : *list) {
      if (Result<image::Reference> parsed = image::Reference::Parse(text); parsed.ok()) own.push_back(*parsed);
    }
  }
  for (const std::string* text : {&named, &asked}) {
    if (text->empty() || image::IsImageId(*text)) continue;
    Result<std::vector<image::Reference>> meanings = names.Candidates(*text);
    for (size_t i = 0; meanings.ok() && i < meanings->size(); ++i) {
      const image::Reference& wanted = (*meanings)[i];
      // Another name says nothing about this image: who may name anything could pick a lenient rule.
      const std::string name = wanted.digest().empty() ? wanted.TaggedName() : wanted.DigestedName();
      const bool known =
          std::any_of(own.begin(), own.end(), [&](const image::Reference& mine) { return mine.String() == name; }) ||
          std::any_of(image.verdicts.begin(), image.verdicts.end(),
                      [&](const image::Verdict& verdict) { return verdict.name == wanted.String(); });
      if (known) return {wanted};
    }
  }
  return own;
}

TrustGate::TrustGate(const config::ImageConfig& config, std::string helper, image::Images& images,
                     store::Content& content)
    : config_(config), helper_(std::move(helper)), images_(images), content_(content) {}

Result<std::string> TrustGate::FileFor(const std::string& pod_namespace) const {
  ASSIGN_OR_RETURN(std::string own, NamespaceFile(config_.signature_policy_dir, pod_namespace));
  if (!own.empty()) return own;
  if (!config_.signature_policy.empty()) return config_.signature_policy;
  ASSIGN_OR_RETURN(bool there, Exists(kDefaultPolicy));
  return there ? std::string(kDefaultPolicy) : std::string();
}

Result<trust::Decision> TrustGate::DecisionFor(const image::Reference& reference,
                                               const std::string& pod_namespace) const {
  Result<std::string> file = FileFor(pod_namespace);
  if (!file.ok()) return Refused(reference.String(), "its signature policy: " + file.status().message());
  if (file->empty()) {
    trust::Decision any;
    any.requirements.resize(1);
    any.requirements[0].type = trust::RequirementType::kAcceptAnything;
    return any;
  }
  Result<trust::Policy> policy = trust::Policy::Load(*file);
  if (!policy.ok()) return Refused(reference.String(), "the signature policy: " + policy.status().message());
  trust::Decision decision = policy->For(reference);
  decision.accept_unnamed = config_.accept_unnamed_signatures;
  return decision;
}

Status TrustGate::Ready() const {
  ASSIGN_OR_RETURN(std::string file, FileFor(""));
  if (!file.empty()) RETURN_IF_ERROR(trust::Policy::Load(file).status());
  return trust::Lookasides::Load(config_.registries_d).status();
}

Status TrustGate::Prepare(image::PullRequest& request, const std::string& pod_namespace) {
  const image::Reference& reference = request.reference;
  const std::string name = reference.String();
  ASSIGN_OR_RETURN(trust::Decision decision, DecisionFor(reference, pod_namespace));
  if (decision.AcceptsAnything()) return {};
  if (decision.Wants(trust::RequirementType::kReject)) return RefusedBy(decision, name, "requirement reject");
  Result<trust::Lookasides> lookasides = trust::Lookasides::Load(config_.registries_d);
  if (!lookasides.ok()) return Refused(name, "where its signatures are: " + lookasides.status().message());
  request.signatures.openpgp = decision.Wants(trust::RequirementType::kSignedBy);
  request.signatures.sigstore = decision.Wants(trust::RequirementType::kSigstoreSigned);
  if (request.signatures.sigstore && !lookasides->Attachments(reference)) {
    return RefusedBy(decision, name,
                     "it wants sigstore signatures, and use-sigstore-attachments is false in " + config_.registries_d);
  }
  if (std::optional<std::string> directory = lookasides->For(reference)) request.signatures.lookasides = {*directory};
  request.verify = [this, decision, name](const std::string& manifest,
                                          const std::string& signatures) -> Result<image::Verdict> {
    trust::VerifyJob job{trust::EncodeDecision(decision), name, manifest, signatures};
    RETURN_IF_ERROR(trust::RunVerifier(helper_, job, Deadline::After(kVerifyBudget)));
    return image::Verdict{name, manifest,   decision.Fingerprint(), decision.file + ", " + decision.scope,
                          "",   WallNanos()};
  };
  return {};
}

Status TrustGate::CheckName(const image::ImageRecord& image, const image::Reference& name,
                            const std::string& pod_namespace, Effort effort) {
  const std::string text = name.String();
  ASSIGN_OR_RETURN(trust::Decision decision, DecisionFor(name, pod_namespace));
  if (decision.AcceptsAnything()) return {};
  if (decision.Wants(trust::RequirementType::kReject)) return RefusedBy(decision, text, "requirement reject");
  const std::string fingerprint = decision.Fingerprint();
  std::set<std::string> kept;  // digests of signatures of this manifest
  for (const image::Verdict& verdict : image.verdicts) {
    if (verdict.manifest_digest != image.manifest_digest) continue;
    if (verdict.name == text && verdict.policy == fingerprint) return {};
    if (!verdict.signatures.empty() && effort == Effort::kVerify) kept.insert(verdict.signatures);
  }
  Status why = RefusedBy(decision, text, "no signatures were kept when it was pulled: pull it again");
  for (const std::string& digest : kept) {
    ASSIGN_OR_RETURN(oci::Digest parsed, oci::Digest::Parse(digest));
    Result<std::string> signatures = content_.Get(parsed);
    if (!signatures.ok()) {
      why = RefusedBy(decision, text, "its kept signatures: " + signatures.status().message());
      continue;
    }
    trust::VerifyJob job{trust::EncodeDecision(decision), text, image.manifest_digest, *signatures};
    why = trust::RunVerifier(helper_, job, Deadline::After(kVerifyBudget));
    if (!why.ok()) continue;
    // Only a memory aid: without it the next container has the same check.
    Status noted = images_.SetVerdict(image.id, {text, image.manifest_digest, fingerprint,
                                                 decision.file + ", " + decision.scope, digest, WallNanos()});
    if (!noted.ok()) LogDebug("image {}: {}", image.id, noted.message());
    return {};
  }
  return why;
}

bool TrustGate::Known(const image::ImageRecord& image, const image::Reference& name, const std::string& pod_namespace) {
  return CheckName(image, name, pod_namespace, Effort::kLookUp).ok();
}

Status TrustGate::Check(const image::ImageRecord& image, const std::string& asked, const std::string& named,
                        const std::string& pod_namespace) {
  const std::vector<image::Reference> names = NamesToTrust(image, asked, named, images_.names());
  if (names.empty()) {
    // It lost its last name; only a policy that asks nothing of anybody takes it.
    ASSIGN_OR_RETURN(image::Reference nobody, image::Reference::Parse("unnamed.invalid/image@" + image.id));
    ASSIGN_OR_RETURN(trust::Decision decision, DecisionFor(nobody, pod_namespace));
    return decision.AcceptsAnything() ? Status() : RefusedBy(decision, image.id, "the image has no name");
  }
  // Taken under one of its names is taken: it is the same bytes under each.
  Status first;
  for (const image::Reference& name : names) {
    Status status = CheckName(image, name, pod_namespace, Effort::kVerify);
    if (status.ok()) return status;
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace davit::engine
