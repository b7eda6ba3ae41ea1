#include "container/seccomp_default.h"

#include <gtest/gtest.h>

namespace davit::container {
namespace {

constexpr const char* kProfile =
    R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[)"
    R"({"names":["read","keyctl","mount","clone","clone3","bpf"],"action":"SCMP_ACT_ALLOW"},)"
    R"({"names":["bpf"],"action":"SCMP_ACT_ERRNO","errnoRet":1},)"
    R"({"names":["socket"],"action":"SCMP_ACT_ALLOW"}]})";

bool Has(const std::string& rendered, const std::string& text) { return rendered.find(text) != std::string::npos; }

TEST(SeccompDefaultTest, WhatNeedsACapabilityIsRefusedWithoutIt) {
  std::string plain = *TightenSeccompProfile(kProfile, {"CAP_AUDIT_WRITE"}, "amd64");
  EXPECT_TRUE(Has(plain, R"({"names":["read"],"action":"SCMP_ACT_ALLOW"})")) << plain;
  EXPECT_TRUE(Has(plain, R"({"names":["bpf","keyctl","mount"],"action":"SCMP_ACT_ERRNO","errnoRet":1})")) << plain;
  EXPECT_TRUE(Has(plain, R"({"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38})")) << plain;
  EXPECT_TRUE(Has(plain, R"({"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,)"
                         R"("valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]})"))
      << plain;

  std::string admin = *TightenSeccompProfile(kProfile, {"CAP_SYS_ADMIN"}, "amd64");
  EXPECT_TRUE(Has(admin, R"({"names":["read","mount","clone","clone3","bpf"],"action":"SCMP_ACT_ALLOW"})")) << admin;
  EXPECT_TRUE(Has(admin, R"({"names":["keyctl"],"action":"SCMP_ACT_ERRNO","errnoRet":1})")) << admin;
}

// Whether one of the rules for socket(2) lets a family through.
bool Allows(const std::string& profile, uint64_t family) {
  for (size_t at = profile.find(R"(["socket"])"); at != std::string::npos; at = profile.find(R"(["socket"])", at + 1)) {
    unsigned long long mask = 0;
    unsigned long long value = 0;
    size_t argument = profile.find(R"("index":0,"value":)", at);
    if (std::sscanf(profile.c_str() + argument, R"("index":0,"value":%llu,"valueTwo":%llu)", &mask, &value) != 2)
      return true;
    if ((family & mask) == value) return true;
  }
  return false;
}

TEST(SeccompDefaultTest, FamiliesOfSocketsAreAllButTwo) {
  std::string profile = *TightenSeccompProfile(kProfile, {}, "amd64");
  for (uint64_t family = 0; family < 46; ++family) {
    EXPECT_EQ(Allows(profile, family), family != 38 && family != 40) << family;
    EXPECT_EQ(Allows(profile, family | 1ULL << 32), Allows(profile, family)) << "the upper half of the register";
  }
}

TEST(SeccompDefaultTest, AListOfExceptionsStaysAsItIs) {
  const std::string exceptions =
      R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["keyctl"],"action":"SCMP_ACT_ALLOW"}]})";
  EXPECT_EQ(*TightenSeccompProfile(exceptions, {}, "amd64"), exceptions);
}

}  // namespace
}  // namespace davit::container
