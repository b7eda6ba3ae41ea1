// The mounts of a container: the OCI defaults, the pod's files, and what the request asks for.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "container/environment.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"

namespace davit::container {

struct MountPlan {
  std::vector<oci::SpecMount> mounts;  // parents before children
  std::string rootfs_propagation;      // "" (private), "rslave" or "rshared"
};

// Checks the fields alone, without looking at the node's files. kInvalidArgument naming "mounts[i].field".
Status ValidateMounts(const std::vector<Mount>& mounts, bool recursive_read_only);

// Resolves host paths (a symlink is followed, its target mounted at the path asked for). kInvalidArgument
// naming the mount: a source that is not there, or BIDIRECTIONAL from a mount that is not shared.
Result<MountPlan> PlanMounts(const ContainerSpec& spec, const PodEnvironment& pod);

}  // namespace davit::container
