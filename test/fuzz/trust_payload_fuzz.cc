// What somebody signed, gpg's status lines and a log entry: no bytes without a signature are ever good.
#include "fuzz.h"
#include "trust/openpgp.h"
#include "trust/sigstore.h"
#include "trust/simple_signing.h"

namespace trust = davit::trust;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = davit::fuzz::View(data, size);
  const auto atomic = trust::ParseSimplePayload(text, trust::PayloadKind::kAtomic);
  const auto cosign = trust::ParseSimplePayload(text, trust::PayloadKind::kCosign);
  FUZZ_REQUIRE(!(atomic.ok() && cosign.ok()));
  if (atomic.ok()) FUZZ_REQUIRE(!atomic->digest.empty());
  if (trust::VerdictOfStatus(text).ok()) FUZZ_REQUIRE(text.find("GOODSIG") != std::string_view::npos);
  (void)trust::PublicKey::FromPem(text).ok();
  return 0;
}
