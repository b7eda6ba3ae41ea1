// Masked and read-only paths of a container.
//
// Source: OCI runtime-spec 1.3, config-linux.md, "Masked Paths", "Readonly Paths".
#pragma once

#include "base/result.h"
#include "native/mounts.h"

namespace davit::native {

// Directories get an empty read-only tmpfs, all other files the node's null device. Paths that are not there are left
// out; any other reason not to mask one is an error (CVE-2025-31133).
Status MaskPaths(const RootSetup& setup);
Status MakePathsReadonly(const RootSetup& setup);

}  // namespace davit::native
