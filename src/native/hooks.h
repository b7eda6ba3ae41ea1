// Hooks: programs that the specification wants run at one point of the container's life.
//
// They get the container's state on stdin and exactly the environment that the specification gives them. What they
// write goes into the error of one that fails. Which namespaces they run in is the caller's: a hook is a child of
// whoever calls this (config.md, "POSIX-platform Hooks").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "oci/runtime_spec.h"

namespace davit::native {

// One after the other; the first that fails ends it: kInternal naming the hook "hooks.prestart[1] /path: …",
// kDeadlineExceeded past its timeout.
Status RunHooks(const std::vector<oci::Hook>& hooks, std::string_view point, std::string_view state_json);

// As poststart and poststop want it (config.md): each runs, and what fails is told as text, one line for each hook.
std::vector<std::string> RunAllHooks(const std::vector<oci::Hook>& hooks, std::string_view point,
                                     std::string_view state_json);

}  // namespace davit::native
