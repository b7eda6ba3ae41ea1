// Seccomp: linux.seccomp to a filter of the kernel, and the loading of it.
//
// Compiled in the caller, before the clone, since libseccomp allocates much; loaded by the child.
// Source: OCI runtime-spec 1.3, config-linux.md, "Seccomp"; seccomp(2); crun(1), run.oci.seccomp_bpf_data.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "oci/runtime_spec.h"
#include "sys/unique_fd.h"

namespace davit::native {

struct SeccompFilter {
  std::string program;  // struct sock_filter[]; empty: no filter
  unsigned flags = 0;   // SECCOMP_FILTER_FLAG_*
  // SCMP_ACT_NOTIFY: where the notify descriptor goes, with the container's state around it.
  std::string listener_path;
  std::string listener_metadata;
};

// kInvalidArgument for what is no profile (names of actions, operators, architectures that are not known);
// kUnimplemented for flags or actions that this kernel lacks. System calls not known here are left out.
Result<SeccompFilter> CompileSeccomp(const oci::Seccomp& profile);
// The filter that container/seccomp_bpf has compiled: base64.
Result<SeccompFilter> DecodeSeccomp(std::string_view base64);
// Which of the two the container wants: the annotation run.oci.seccomp_bpf_data wins, as with crun.
Result<SeccompFilter> SeccompOf(const oci::RuntimeSpec& spec);
// Loads it for the calling thread. The notify descriptor, or none.
Result<sys::UniqueFd> LoadSeccomp(const SeccompFilter& filter);

}  // namespace davit::native
