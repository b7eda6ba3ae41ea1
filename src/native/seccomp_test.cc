#include "native/seccomp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

namespace davit::native {
namespace {

using ::testing::HasSubstr;

oci::Seccomp Profile() {
  oci::Seccomp profile;
  profile.default_action = "SCMP_ACT_ERRNO";
  profile.default_errno_ret = 38;
  profile.architectures = {"SCMP_ARCH_X86_64"};
  profile.syscalls = {{{"read", "write", "of_the_future"}, "SCMP_ACT_ALLOW", {}, {}},
                      {{"personality"}, "SCMP_ACT_ALLOW", {}, {{0, 0, 0, "SCMP_CMP_EQ"}, {0, 8, 0, "SCMP_CMP_EQ"}}}};
  return profile;
}

TEST(SeccompTest, CompilesAProfile) {
  Result<SeccompFilter> filter = CompileSeccomp(Profile());
  ASSERT_TRUE(filter.ok()) << filter.status().ToString();
  EXPECT_GT(filter->program.size(), 8 * sizeof(sock_filter));
  EXPECT_EQ(filter->program.size() % sizeof(sock_filter), 0u);
  EXPECT_EQ(filter->flags, 0u);
}

TEST(SeccompTest, NotifyingWantsAListener) {
  oci::Seccomp profile = Profile();
  profile.syscalls.push_back({{"mkdir"}, "SCMP_ACT_NOTIFY", {}, {}});
  EXPECT_THAT(CompileSeccomp(profile).status().message(), HasSubstr("without listenerPath"));
  profile.listener_path = "/run/agent.sock";
  profile.flags = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"};
  Result<SeccompFilter> filter = CompileSeccomp(profile);
  ASSERT_TRUE(filter.ok()) << filter.status().ToString();
  EXPECT_EQ(filter->flags, unsigned{SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_LOG});
  profile.default_action = "SCMP_ACT_NOTIFY";
  EXPECT_FALSE(CompileSeccomp(profile).ok());
}

TEST(SeccompTest, NamesWhatIsWrong) {
  oci::Seccomp profile = Profile();
  profile.syscalls[1].args[0].op = "SCMP_CMP_XX";
  EXPECT_EQ(CompileSeccomp(profile).status().message(), "syscalls[1]: operator \"SCMP_CMP_XX\" is not known");
  profile = Profile();
  profile.architectures = {"SCMP_ARCH_PDP11"};
  EXPECT_EQ(CompileSeccomp(profile).status().message(), "architecture \"SCMP_ARCH_PDP11\" is not known");
  profile = Profile();
  profile.flags = {"SECCOMP_FILTER_FLAG_X"};
  EXPECT_FALSE(CompileSeccomp(profile).ok());
}

TEST(SeccompTest, TakesAFilterThatIsCompiled) {
  oci::RuntimeSpec spec;
  spec.annotations["run.oci.seccomp_bpf_data"] = "BgAAAAAA/38=";  // return ALLOW
  Result<SeccompFilter> filter = SeccompOf(spec);
  ASSERT_TRUE(filter.ok()) << filter.status().ToString();
  EXPECT_EQ(filter->program, std::string("\x06\0\0\0\0\0\xff\x7f", 8));
  for (const char* bad : {"", "BgAAAAAA", "BgAAAAAA/38*", "===="}) EXPECT_FALSE(DecodeSeccomp(bad).ok()) << bad;
}

}  // namespace
}  // namespace davit::native
