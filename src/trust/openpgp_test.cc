#include "trust/openpgp.h"

#include <gtest/gtest.h>

namespace davit::trust {
namespace {

constexpr const char* kGood =
    "[GNUPG:] PLAINTEXT 62 0 \n[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 1 me\n[GNUPG:] VALIDSIG F 2026-01-01 1 0 4 0 1 8 00 "
    "F\n";

TEST(OpenPgpVerdictTest, OneGoodSignature) { EXPECT_TRUE(VerdictOfStatus(kGood).ok()); }

TEST(OpenPgpVerdictTest, AnythingElseIsRefused) {
  const std::string good = kGood;
  for (const std::string& text :
       {std::string(), std::string("[GNUPG:] PLAINTEXT 62 0 \n"), std::string("GOODSIG 1 me\nVALIDSIG F\nNEWSIG\n"),
        good + "[GNUPG:] EXPKEYSIG 1 me\n", good + "[GNUPG:] REVKEYSIG 1 me\n", good + "[GNUPG:] EXPSIG 1 me\n",
        good + "[GNUPG:] BADSIG 1 me\n", good + "[GNUPG:] ERRSIG 1 1 8 00 1 9 F\n[GNUPG:] NO_PUBKEY 1\n",
        good + "[GNUPG:] ERRSIG 1 1 8 00 1 4 F\n", good + good, good + "[GNUPG:] NEWSIG\n"}) {
    EXPECT_EQ(VerdictOfStatus(text).code(), StatusCode::kPermissionDenied) << text;
  }
}

}  // namespace
}  // namespace davit::trust
