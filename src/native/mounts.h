// Mounts of a container, made by the new process in its namespaces, before its root is its root.
//
// File systems are made detached (fsopen, fsconfig, fsmount), bind mounts come detached from the caller; a target is a
// descriptor (target.h), and one is attached to the other (move_mount).
//
// Source: OCI runtime-spec 1.3, config.md, "Mounts"; config-linux.md, "Default Filesystems"; fsopen(2) family.
#pragma once

#include "base/result.h"
#include "native/prepared_mounts.h"
#include "native/procfs.h"
#include "oci/runtime_spec.h"

namespace davit::native {

// What the steps that build the root have in common. All references outlive it.
struct RootSetup {
  const oci::RuntimeSpec& spec;
  const PreparedMounts& prepared;
  const Procfs& procfs;
  int root = -1;  // of the container, already attached in the process's mount namespace
  bool in_user_namespace = false;
};

// All of mounts[], in order.
Status MountAll(const RootSetup& setup);

// A new file system, mounted nowhere. `options.attributes` apply.
Result<sys::UniqueFd> MakeFilesystem(const std::string& type, const std::string& source, const MountOptions& options);
// move_mount(2), descriptor to descriptor.
Status Attach(int tree, int target);
// A detached copy of what a descriptor names.
Result<sys::UniqueFd> CloneTree(int fd, bool recursive);

}  // namespace davit::native
