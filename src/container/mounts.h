// The mounts of a container: the OCI defaults, the pod's files, and what the request asks for.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "container/environment.h"
#include "container/own_mounts.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"
#include "sys/host_paths.h"

namespace davit::container {

struct MountPlan {
  std::vector<OwnMount> own;           // made first: sources of some of the mounts. Image volumes lack their layers yet
  std::vector<oci::SpecMount> mounts;  // parents before children
  std::string rootfs_propagation;      // "" (private), "rslave" or "rshared"
};

// Checks the fields alone, without looking at the node's files. kInvalidArgument naming "mounts[i].field".
Status ValidateMounts(const std::vector<Mount>& mounts, bool recursive_read_only);

// Resolves host paths (a symlink is followed, its target mounted at the path asked for); one that is not
// there is made as a directory, as the kubelet expects of a runtime (a hostPath volume without a type).
// kInvalidArgument naming the mount: a dangling link, HOST_TO_CONTAINER from a mount that is neither shared
// nor slave, BIDIRECTIONAL from one that is not shared. kDeadlineExceeded, kResourceExhausted: a file system that does
// not answer (sys/host_paths.h). `directory`: where own mounts will be.
Result<MountPlan> PlanMounts(const ContainerSpec& spec, const PodEnvironment& pod, const std::string& directory = {},
                             const sys::HostPaths& host_paths = sys::HostPaths());

// Parents first, otherwise the order given: a mount over /dev must not hide /dev/pts.
void SortMounts(std::vector<oci::SpecMount>& mounts);

// "/a//b/./c/" -> "/a/b/c"; the empty string when there is a ".." or the path is relative.
std::string CleanAbsolute(const std::string& path);

// Whether a clean path is /proc or lies below it.
bool IsInProc(const std::string& path);

}  // namespace davit::container
