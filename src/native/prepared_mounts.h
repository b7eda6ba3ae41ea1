// Prepared mounts: the root and the sources of all bind mounts, cloned as detached trees by the caller.
//
// By the caller, since root of a user namespace often cannot reach a source or map its ids, and since nothing of the
// container runs yet that could change what a name means.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "native/mount_options.h"
#include "oci/runtime_spec.h"
#include "sys/unique_fd.h"

namespace davit::native {

struct PreparedMount {
  MountOptions options;
  sys::UniqueFd tree;  // of a bind mount: detached, attributes and propagation set
  bool directory = true;
};

struct PreparedMounts {
  std::string root_path;              // absolute
  sys::UniqueFd root;                 // detached
  std::vector<PreparedMount> mounts;  // one for each of the specification's
};

Result<PreparedMounts> PrepareMounts(const oci::RuntimeSpec& spec, const std::string& bundle);

// mount_setattr(2) on what a descriptor names.
Status SetAttributes(int mount, const Attributes& attributes, bool recursive);
// The same for a propagation (MS_*); 0 does nothing.
Status SetMountPropagation(int mount, unsigned long propagation, bool recursive);

// "mounts[3] /data", for errors.
std::string MountName(const oci::RuntimeSpec& spec, size_t index);

}  // namespace davit::native
