// The reader of config.json and of its parts: text from outside to RuntimeSpec, or the first thing that is wrong with
// it, named as the specification names it:
//
//   linux.namespaces[2].type: "netwrok" is none of pid, network, mount, ipc, uts, user, cgroup, time
//
// Checked is what the document alone can tell: types, ranges, names, what needs what ("linux.timeOffsets" a time
// namespace). Whether files are there and the kernel can do it is for who makes the container. Unknown members are
// left out (config.md, "Extensibility"), also those of other platforms.
//
// Caps: size, depth, and entries of each list (kResourceExhausted); no text that goes to the kernel holds a NUL byte.
// Everything else is kInvalidArgument. Pure; any thread.
#pragma once

#include <string_view>

#include "base/result.h"
#include "oci/runtime_spec.h"

namespace davit::oci {

inline constexpr size_t kMaxRuntimeSpecBytes = 16u << 20;
inline constexpr size_t kMaxRuntimeSpecDepth = 32;
// /proc/PID/uid_map takes no more lines (user_namespaces(7)).
inline constexpr size_t kMaxIdMappings = 340;

// config.json. `process` and `root` have to be there: a container without them cannot be made on Linux.
Result<RuntimeSpec> ParseRuntimeSpec(std::string_view text);
// The file of `exec --process`. Errors begin with "process".
Result<Process> ParseProcess(std::string_view text);
// The file of `update --resources`. Errors begin with "resources".
Result<Resources> ParseResources(std::string_view text);
// A seccomp profile alone.
Result<Seccomp> ParseSeccomp(std::string_view text);

// What ParseRuntimeSpec checks beside types, for specifications that were composed in memory.
Status ValidateRuntimeSpec(const RuntimeSpec& spec);
// The same of resources; errors begin with `at`.
Status ValidateResources(const Resources& resources, std::string_view at);

}  // namespace davit::oci
