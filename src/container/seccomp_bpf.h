// Compiled seccomp filters. An OCI runtime compiles the profile of every container anew, which takes crun longer
// than everything else it does; crun takes a filter that is compiled already as an annotation. One profile is
// compiled once and kept.
//
// The compiler is libseccomp, asked exactly as crun asks it: the filter is the same, byte by byte.
// Source: crun(1), run.oci.seccomp_bpf_data; OCI runtime-spec, config-linux.md, "Seccomp"; seccomp_export_bpf(3).
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::container {

// The filter of a linux.seccomp object as struct sock_filter[]. kUnimplemented for what only the runtime can do
// (SCMP_ACT_NOTIFY, a listener) and what it would do differently with a compiled filter (flags); other codes when
// libseccomp refuses. In every such case the runtime gets the profile itself.
Result<std::string> CompileSeccomp(std::string_view profile_json);

class SeccompCache {
 public:
  static constexpr size_t kMaxProfiles = 64;

  // The filter in base64, "" when this profile has to be compiled by the runtime (known after the first time, too).
  // Two callers with one new profile: one compiles, the other waits.
  std::string Filter(const std::string& profile_json);

 private:
  // Guards the maps and the compiler, whose library has state of its own.
  std::mutex mutex_;
  std::map<std::string, std::string> filters_;
};

}  // namespace davit::container
