// Launch: clone3(2) of a single-threaded process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "native/container.h"

namespace davit::native {

struct CloneRequest {
  uint64_t flags = 0;  // CLONE_NEW*, CLONE_PARENT
  int cgroup = -1;     // CLONE_INTO_CGROUP
};

// Runs `body` in a copy of this process, which ends with it. With CLONE_PARENT the copy is a sibling, and its pidfd is
// not made.
Result<Created> Clone(const CloneRequest& request, const std::function<void()>& body);

// The rest of entering the cgroups, by the new process itself.
Status EnterCgroups(const CgroupEntry& entry);

// pidfd_open(2).
Result<sys::UniqueFd> OpenPidfd(pid_t pid);

// SIGKILL and the end awaited.
void KillAndReap(pid_t pid);

}  // namespace davit::native
