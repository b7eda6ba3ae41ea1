// From a process inside the container to its program: what the first process and an exec have in common.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "native/container.h"
#include "native/process_plan.h"
#include "native/procfs.h"
#include "native/seccomp.h"
#include "native/terminal.h"
#include "oci/runtime_spec.h"

namespace davit::native {

// References outlive it.
struct ProcessSetup {
  const oci::Process& process;
  const ProcessPlan& plan;
  const Procfs& procfs;
  const SeccompFilter& filter;
  StandardStreams streams;
  int preserve_fds = 0;
  std::string keyring;     // empty: keep the caller's
  int error_channel = -1;  // kept open until the exec
  int agent = -1;          // connected seccomp agent
  std::string agent_message;
};

// Everything that has to happen after the start was asked for, and execve(2). Returns the error only.
//
// The order: what needs rights of the node; no_new_privileges; without it the filter, which then needs CAP_SYS_ADMIN
// (seccomp(2)); user, groups and capabilities; the working directory, as that user; with it the filter, so that it need
// allow nothing of all this; exec.
Status RunProgram(const ProcessSetup& setup);

}  // namespace davit::native
