// Which kernel parameters a pod may set, and in which of its namespaces (CVE-2022-0811, CVE-2022-0532).
#pragma once

#include "base/result.h"
#include "pod/spec.h"

namespace davit::pod {

// Every name must be one that the kernel keeps for each namespace, and the pod must have that namespace
// for itself: "net.*" needs its own network, "kernel.shm*", "kernel.msg*", "kernel.sem" and "fs.mqueue.*"
// its own IPC. kInvalidArgument naming the sysctl otherwise.
Status ValidateSysctls(const PodSpec& spec);

// Writes them one by one in the calling thread's namespaces.
Status ApplySysctls(const PodSpec& spec);

}  // namespace davit::pod
