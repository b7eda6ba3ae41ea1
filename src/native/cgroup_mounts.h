// The mount of type "cgroup": the container's own cgroups, whatever version the node has.
#pragma once

#include "base/result.h"
#include "native/mounts.h"

namespace davit::native {

// Version 2: the process's cgroup. Version 1 and hybrid: a tmpfs with a directory for each hierarchy, and the links
// that the node has ("cpu" -> "cpu,cpuacct").
//
// Clones of the node's mounts, not new ones: these show the same, take no superblock to be found, and work in a user
// namespace. With a cgroup namespace the clone's root is that namespace's root.
Status MountCgroups(const RootSetup& setup, const oci::SpecMount& mount, const MountOptions& options);

}  // namespace davit::native
