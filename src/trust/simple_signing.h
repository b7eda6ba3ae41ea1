// The "simple signing" payload: a digest and the name that somebody signed together. OpenPGP signatures and cosign's
// have the same form.
// Source: containers' "atomic-signature" format; cosign's SIGNATURE_SPEC.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "oci/digest.h"

namespace davit::trust {

inline constexpr size_t kMaxPayloadBytes = 64 << 10;

struct SimplePayload {
  oci::Digest digest;
  std::string reference;  // docker-reference, as it is
};

enum class PayloadKind { kAtomic, kCosign };  // "atomic container signature", "cosign container image signature"

// kInvalidArgument for anything missing, of the wrong type, or unknown where the format knows all keys.
Result<SimplePayload> ParseSimplePayload(std::string_view text, PayloadKind kind);

}  // namespace davit::trust
