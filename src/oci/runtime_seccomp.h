// Seccomp: `linux.seccomp` of config.json as typed data.
//
// Source: OCI runtime-spec 1.3.0, config-linux.md, "Seccomp". Names are the specification's ("SCMP_ACT_ERRNO"); the
// reader (oci/runtime_spec_reader.h) takes those alone. Plain values, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace davit::oci {

struct SeccompArgument {
  uint32_t index = 0;  // 0 to 5
  uint64_t value = 0;  // with SCMP_CMP_MASKED_EQ: the mask
  uint64_t value_two = 0;
  std::string op;  // "SCMP_CMP_EQ"
};

struct SeccompRule {
  std::vector<std::string> names;  // of system calls; unknown ones are for the runtime to leave out
  std::string action;              // "SCMP_ACT_ALLOW"
  std::optional<uint32_t> errno_ret;
  std::vector<SeccompArgument> args;  // all must hold; two of one index: see config-linux.md
};

struct Seccomp {
  std::string default_action;
  std::optional<uint32_t> default_errno_ret;
  std::vector<std::string> architectures;  // "SCMP_ARCH_X86_64"; empty: the machine's own
  std::vector<std::string> flags;          // "SECCOMP_FILTER_FLAG_LOG"
  std::string listener_path;               // unix socket that is given the notify descriptor
  std::string listener_metadata;
  std::vector<SeccompRule> syscalls;
};

std::string ToJson(const Seccomp& seccomp);  // compact

}  // namespace davit::oci
