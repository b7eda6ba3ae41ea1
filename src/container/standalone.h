// What a standalone container's request says beyond CRI's, as parts of the OCI runtime's configuration.
#pragma once

#include <string_view>

#include "base/result.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"

namespace davit::container {

// kInvalidArgument naming the field: names, a restart policy that is none, limits that are none, a check without
// program.
Status ValidateStandalone(const StandaloneSpec& spec);

// [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 255 bytes: what Docker and Podman take for names of containers, pods and volumes.
Status ValidateName(std::string_view name, std::string_view field);

// Umask and limits of the first process. A hard limit above the node's own is lowered to it where the node may not
// raise it (setrlimit(2): CAP_SYS_RESOURCE).
Status ApplyStandalone(const StandaloneSpec& spec, oci::RuntimeSpec& out);

}  // namespace davit::container
