// What a pod's user namespace means for a container in it (KEP-127): which requests fit it, and its part of
// the OCI spec.
#pragma once

#include "base/result.h"
#include "container/environment.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"
#include "sys/user_namespace.h"

namespace davit::container {

// A container says nothing about it or the same as its pod (the kubelet sends the pod's); mappings of
// mounts are the pod's too. kInvalidArgument naming the field; also for what cannot work in a user
// namespace of the pod's own: the node's PID namespace, and BIDIRECTIONAL mounts (the kernel gives the
// namespace only slaves of the node's mounts, mount_namespaces(7)).
Status ValidateUserNamespace(const ContainerSpec& spec, const PodEnvironment& pod);

// The namespace and its maps; nothing without one.
void AddUserNamespace(const PodEnvironment& pod, oci::Linux& linux_part);

// Its map, which is one range for users and groups alike. All zero without one.
sys::IdRange MappedIds(const PodEnvironment& pod);

}  // namespace davit::container
