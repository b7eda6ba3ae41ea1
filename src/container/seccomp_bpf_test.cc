#include "container/seccomp_bpf.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace davit::container {
namespace {

// Runs the filter as the kernel would: the subset of classic BPF that libseccomp writes.
uint32_t Interpret(const std::string& filter, const seccomp_data& data) {
  std::vector<sock_filter> program(filter.size() / sizeof(sock_filter));
  std::memcpy(program.data(), filter.data(), program.size() * sizeof(sock_filter));
  const char* bytes = reinterpret_cast<const char*>(&data);
  uint32_t a = 0;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& op = program[pc];
    switch (op.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&a, bytes + op.k, sizeof a);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= op.k;
        break;
      case BPF_JMP | BPF_JA:
        pc += op.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        pc += a == op.k ? op.jt : op.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        pc += a >= op.k ? op.jt : op.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        pc += a > op.k ? op.jt : op.jf;
        break;
      case BPF_RET | BPF_K:
        return op.k;
      default:
        ADD_FAILURE() << "instruction " << op.code;
        return 0;
    }
  }
  ADD_FAILURE() << "ran off the end";
  return 0;
}

uint32_t Native(const std::string& filter, long number, uint64_t first = 0) {
  seccomp_data data{};
  data.nr = static_cast<int>(number);
#if defined(__x86_64__)
  data.arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
  data.arch = AUDIT_ARCH_AARCH64;
#endif
  data.args[0] = first;
  return Interpret(filter, data);
}

constexpr std::string_view kProfile = R"({
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  "syscalls": [
    {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
    {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS"},
    {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                                                               {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}
  ]})";

TEST(SeccompBpfTest, RulesMeanTheSameCompiled) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "the profile names x86 architectures";
#endif
  Result<std::string> filter = CompileSeccomp(kProfile);
  ASSERT_TRUE(filter.ok()) << filter.status().message();
  ASSERT_EQ(filter->size() % sizeof(sock_filter), 0u);
  EXPECT_EQ(Native(*filter, SYS_read), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Native(*filter, SYS_write), SECCOMP_RET_ERRNO | 38u);
  EXPECT_EQ(Native(*filter, SYS_ptrace), SECCOMP_RET_ERRNO | 13u);
  EXPECT_EQ(Native(*filter, SYS_kill), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(Native(*filter, SYS_personality, 8), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Native(*filter, SYS_personality, 9), SECCOMP_RET_ERRNO | 38u);
  EXPECT_EQ(Native(*filter, SYS_socket, 1), SECCOMP_RET_ALLOW) << "either condition is enough";
  EXPECT_EQ(Native(*filter, SYS_socket, 2), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Native(*filter, SYS_socket, 38), SECCOMP_RET_ERRNO | 38u);
  EXPECT_EQ(Native(*filter, SYS_clone, 0x11), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Native(*filter, SYS_clone, 0x10000000), SECCOMP_RET_ERRNO | 38u) << "a new user namespace";
}

TEST(SeccompBpfTest, TheOtherArchitecturesRulesStay) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "the profile names x86 architectures";
#endif
  std::string filter = *CompileSeccomp(kProfile);
  seccomp_data data{};
  data.arch = AUDIT_ARCH_I386;
  data.nr = 3;  // read
  EXPECT_EQ(Interpret(filter, data), SECCOMP_RET_ALLOW);
  data.nr = 26;  // ptrace
  EXPECT_EQ(Interpret(filter, data), SECCOMP_RET_ERRNO | 13u);
  data.arch = AUDIT_ARCH_X86_64;
  data.nr = 0x40000000 + 0;  // read of x32
  EXPECT_EQ(Interpret(filter, data), SECCOMP_RET_ALLOW);
  data.arch = AUDIT_ARCH_ARM;
  EXPECT_EQ(Interpret(filter, data), SECCOMP_RET_KILL_THREAD) << "an architecture that the profile does not have";
}

TEST(SeccompBpfTest, WhatOnlyTheRuntimeCanDoIsLeftToIt) {
  for (const char* profile :
       {R"({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]})",
        R"({"defaultAction": "SCMP_ACT_ALLOW", "flags": []})",
        R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]})",
        R"({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]})",
        R"({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"})"}) {
    EXPECT_EQ(CompileSeccomp(profile).code(), StatusCode::kUnimplemented) << profile;
    SeccompCache cache;
    EXPECT_EQ(cache.Filter(profile), "");
  }
}

TEST(SeccompBpfTest, TheCacheAnswersTheSameForTheSameAndIsBounded) {
  SeccompCache cache;
  const std::string first = R"({"defaultAction":"SCMP_ACT_ALLOW"})";
  const std::string filter = cache.Filter(first);
  EXPECT_FALSE(filter.empty());
  EXPECT_EQ(filter.size() % 4, 0u);
  std::string other = cache.Filter(R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":7})");
  EXPECT_NE(other, filter);
  for (size_t i = 0; i < 2 * SeccompCache::kMaxProfiles; ++i) {
    EXPECT_NE(cache.Filter(R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":)" + std::to_string(i + 1) + "}"),
              "");
  }
  EXPECT_EQ(cache.Filter(first), filter);
}

}  // namespace
}  // namespace davit::container
