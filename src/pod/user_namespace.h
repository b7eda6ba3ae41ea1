// The user namespace that a pod's request may ask for (userns_options of CRI; KEP-127).
#pragma once

#include "base/result.h"
#include "pod/spec.h"
#include "sys/user_namespace.h"

namespace davit::pod {

// Accepted: nothing, NODE without mappings, and POD with one mapping of container ID 0 and up, the same for
// users and groups. kInvalidArgument naming the field for everything else, and for a namespace of the
// node beside a user namespace of the pod: the kernel would refuse its mounts.
Status ValidateUserNamespace(const PodSpec& spec);

// Only with spec.has_user_namespace().
sys::IdMap ToIdMap(const PodSpec& spec);
uint32_t MappedRootUser(const PodSpec& spec);  // 0 without a user namespace
uint32_t MappedRootGroup(const PodSpec& spec);

}  // namespace davit::pod
