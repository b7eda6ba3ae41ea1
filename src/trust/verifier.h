// Verifier: one `davit-pull --verify` process that looks at signatures for davitd, which never does itself. It needs no
// network and has none where it may leave it. docs/formats/pull-protocol.md.
#pragma once

#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"

namespace davit::trust {

inline constexpr size_t kMaxVerifyJobBytes = size_t{32} << 20;

struct VerifyJob {
  std::string decision;   // EncodeDecision()
  std::string reference;  // Reference::String()
  std::string manifest_digest;
  std::string signatures;  // image::EncodeSignatureSet()
};

std::string EncodeVerifyJob(const VerifyJob& job);
Result<VerifyJob> DecodeVerifyJob(std::string_view text);

// Blocks. The verdict of trust::Verify; kUnavailable or kInternal when the process gave none, which is no acceptance.
Status RunVerifier(const std::string& helper_path, const VerifyJob& job, Deadline deadline);

}  // namespace davit::trust
