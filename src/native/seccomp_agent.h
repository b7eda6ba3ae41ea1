// Seccomp agent: who gets the notify descriptor of a container's filter, and what it is told.
//
// Source: OCI runtime-spec 1.3, config-linux.md, "The Container Process State".
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "native/seccomp.h"

namespace davit::native {

// What the message says besides.
struct AgentState {
  std::string oci_version;
  std::string id;
  std::string bundle;
  std::string status;   // "creating" for the first process, "running" for an exec
  pid_t init_pid = -1;  // as the caller sees them
  pid_t pid = -1;
};

// Connected by the caller, whose paths these are; none when the filter does not notify.
Result<sys::UniqueFd> ConnectAgent(const SeccompFilter& filter);
// The message of the process that has loaded the filter.
std::string AgentMessage(const SeccompFilter& filter, const AgentState& state);

}  // namespace davit::native
