// A sigstore bundle: parsed with a key that signed none of them, so that none may be good.
#include "fuzz.h"
#include "trust/sigstore.h"

namespace trust = davit::trust;

namespace {

constexpr std::string_view kKey =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzjgirmdIBRpz0obFAhJEFmrGCjOT\n"
    "vrohYy7QKDCtpTZcz3R1Ns9nRjOU2lELbWlFWEq2GpI8l2HCNyXQGvGYxQ==\n"
    "-----END PUBLIC KEY-----\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<trust::PublicKey> keys = {*trust::PublicKey::FromPem(kKey)};
  const std::string_view text = davit::fuzz::View(data, size);
  FUZZ_REQUIRE(!trust::VerifyBundle(text, keys, false).ok());
  FUZZ_REQUIRE(!trust::CheckLogEntry(text, keys, "message", "signature", keys[0]).ok());
  return 0;
}
