// Verify: the requirements that hold for an image against what was found beside it.
//
// Parses bytes from outside: runs in `davit-pull --verify` (verifier.h starts it), never in davitd.
#pragma once

#include "base/deadline.h"
#include "base/status.h"
#include "image/reference.h"
#include "image/signatures.h"
#include "trust/policy.h"

namespace davit::trust {

// What the kubelet looks for at the beginning of the text of a failed pull (k8s.io/cri-api errors).
inline constexpr std::string_view kRefused = "SignatureValidationFailed";

// Every requirement has to hold, each by a signature of its own or by one that others use too. A signature is for the
// platform's manifest, or for the index that lists it by digest. kPermissionDenied "SignatureValidationFailed: …"
// naming file, scope, requirement and why each signature does not count. Blocks for gpg.
Status Verify(const Decision& decision, const image::Reference& asked, const image::SignatureSet& found,
              Deadline deadline);

// That text, for whoever refuses without looking at signatures. `number` counts from 1; 0: the file as a whole.
Status Refusal(const Decision& decision, const image::Reference& asked, size_t number, std::string_view why);

}  // namespace davit::trust
