#include "container/seccomp.h"

#include <gtest/gtest.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::container {
namespace {

constexpr std::string_view kProfile = R"({
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
              {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
  "syscalls": [
    {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "x", "includes": {}, "excludes": {}},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
    {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
    {"names": ["old"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}
  ]})";

bool Has(const std::string& rendered, const std::string& text) { return rendered.find(text) != std::string::npos; }

TEST(SeccompTest, ConditionsAreDecidedForTheContainer) {
  std::string plain = *RenderSeccompProfile(kProfile, {"CAP_CHOWN"}, "amd64");
  EXPECT_TRUE(Has(plain, R"("defaultErrnoRet":38)"));
  EXPECT_TRUE(Has(plain, R"("architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"])"));
  EXPECT_TRUE(Has(plain, R"({"names":["read"],"action":"SCMP_ACT_ALLOW"})"));
  EXPECT_FALSE(Has(plain, "mount"));
  EXPECT_TRUE(Has(plain, R"({"names":["clone"],"action":"SCMP_ACT_ERRNO","errnoRet":1})"));
  EXPECT_TRUE(Has(plain, "arch_prctl"));
  EXPECT_FALSE(Has(plain, "future"));
  EXPECT_TRUE(Has(plain, "old"));
  EXPECT_FALSE(Has(plain, "includes"));

  std::string admin = *RenderSeccompProfile(kProfile, {"CAP_SYS_ADMIN"}, "arm64");
  EXPECT_TRUE(Has(admin, "mount"));
  EXPECT_FALSE(Has(admin, "clone"));
  EXPECT_FALSE(Has(admin, "arch_prctl"));
  EXPECT_TRUE(Has(admin, "SCMP_ARCH_AARCH64"));
}

TEST(SeccompTest, AnOciProfilePassesThrough) {
  constexpr std::string_view kOci = R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],)"
                                    R"("syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO"}]})";
  EXPECT_EQ(*RenderSeccompProfile(kOci, {}, "amd64"), kOci);
}

TEST(SeccompTest, WhatIsNoProfileIsRefused) {
  for (const char* bad :
       {"", "[]", "{}", R"({"defaultAction":5})", R"({"defaultAction":"A","syscalls":[{"action":"B"}]})",
        R"({"defaultAction":"A","syscalls":[{"names":["x"]}]})", R"({"defaultAction":"A","syscalls":["x"]})"}) {
    EXPECT_EQ(RenderSeccompProfile(bad, {}, "amd64").code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SeccompTest, FilesAreNamedInErrors) {
  sys::TempDir dir;
  EXPECT_EQ(LoadSeccompProfile("relative", {}).code(), StatusCode::kInvalidArgument);
  for (const std::string& path : {dir.At("missing"), dir.path()}) {
    Result<std::string> loaded = LoadSeccompProfile(path, {});
    EXPECT_EQ(loaded.code(), StatusCode::kInvalidArgument);
    EXPECT_TRUE(Has(loaded.status().message(), path));
  }
  ASSERT_TRUE(sys::WriteFileAtomic(dir.At("p"), kProfile, 0600, sys::Durability::kAtomic).ok());
  EXPECT_TRUE(LoadSeccompProfile(dir.At("p"), {}).ok());
}

TEST(SeccompTest, TheDeprecatedFieldHasFourForms) {
  EXPECT_FALSE(ParseSeccompField("")->has_value());
  EXPECT_EQ((*ParseSeccompField("unconfined"))->type, ProfileType::kUnconfined);
  EXPECT_EQ((*ParseSeccompField("runtime/default"))->type, ProfileType::kRuntimeDefault);
  EXPECT_EQ((*ParseSeccompField("docker/default"))->type, ProfileType::kRuntimeDefault);
  EXPECT_EQ((*ParseSeccompField("localhost//p/q.json"))->localhost_ref, "/p/q.json");
  EXPECT_EQ(ParseSeccompField("p").code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace davit::container
