// Credentials: what the new process gives up and takes on before its program, in the order that the kernel needs.
//
// Source: OCI runtime-spec 1.3, config.md, "User", "Linux Process"; credentials(7), capabilities(7).
#pragma once

#include <string>

#include "base/result.h"
#include "native/process_plan.h"
#include "native/procfs.h"
#include "oci/runtime_spec.h"

namespace davit::native {

// In a user namespace that has just been entered: its root, as far as that is mapped.
Status BecomeRoot();

// What needs the rights of the node and is inherited by the program: scheduler, I/O priority, memory policy,
// personality, limits of resources.
Status ApplyKernelSettings(const ProcessPlan& plan);

// AppArmor profile and SELinux label, for the next exec.
Status SetSecurityLabels(const Procfs& procfs, const oci::Process& process);

// A session keyring of the container's own (session-keyring(7)). A kernel or a filter without keyrings is no error.
Status JoinKeyring(const std::string& name);

// Bounding set, groups, user, umask, and the five sets; in this order.
Status TakeCredentials(const oci::Process& process, const CapabilityMasks& masks);

}  // namespace davit::native
