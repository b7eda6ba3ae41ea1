// Exec: one more process in a container that runs.
//
// The same conditions as container.h: a single-threaded caller, errors with their step, no descriptor that is not
// named.
#pragma once

#include <string>

#include "native/container.h"

namespace davit::native {

struct ExecOptions {
  std::string id;
  pid_t init_pid = -1;  // the container's first process
  int init_pidfd = -1;  // of the same; what its namespaces are joined by
  CgroupEntry cgroup;   // the container's own, or one below it
  StandardStreams streams;
  int console = -1;
  int preserve_fds = 0;
  bool no_new_keyring = false;
};

// Returns when the program runs. `spec` is the container's (seccomp, personality and what else belongs to the
// container); `process` is the whole description of the new process, process.json of `exec --process`.
// kFailedPrecondition: the first process has ended.
Result<Created> ExecInContainer(const oci::RuntimeSpec& spec, const oci::Process& process, const ExecOptions& options);

}  // namespace davit::native
