// policy.json: what is accepted has a rule for every image, and the rule survives being sent to davit-pull.
#include <string>

#include "fuzz.h"
#include "trust/policy.h"

namespace trust = davit::trust;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = davit::fuzz::View(data, size);
  davit::Result<trust::Policy> policy = trust::Policy::Parse(
      text, "policy.json", [](const std::string&) -> davit::Result<std::string> { return std::string("key"); });
  if (!policy.ok()) {
    FUZZ_REQUIRE(policy.status().message().starts_with("policy.json: "));
    return 0;
  }
  for (const char* name : {"busybox", "h.example.com:5000/ns/repo:v1"}) {
    const trust::Decision decision = policy->For(*davit::image::Reference::Parse(name));
    FUZZ_REQUIRE(!decision.requirements.empty() && !decision.scope.empty());
    for (const trust::Requirement& requirement : decision.requirements) {
      const bool keyed = requirement.type == trust::RequirementType::kSignedBy ||
                         requirement.type == trust::RequirementType::kSigstoreSigned;
      FUZZ_REQUIRE(!keyed || !requirement.keys.empty() || !requirement.unsupported.empty());
    }
    davit::Result<trust::Decision> again = trust::DecodeDecision(trust::EncodeDecision(decision));
    FUZZ_REQUIRE(again.ok() && again->Fingerprint() == decision.Fingerprint());
  }
  return 0;
}
