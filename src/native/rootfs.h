// The root of a container: attached, and then taken as the process's root.
//
// Source: OCI runtime-spec 1.3, config-linux.md, "Rootfs Mount Propagation"; config.md, "Root"; pivot_root(2).
#pragma once

#include "base/result.h"
#include "native/mounts.h"

namespace davit::native {

// In a new mount namespace: nothing that is mounted from here on reaches the node; the detached root is attached.
Status AttachRoot(int tree);
// Makes the root the process's root and its working directory, lets go of the node's mounts, and then sets what a
// pivot_root(2) would not have taken: propagation and the read-only flag.
Status EnterRoot(const RootSetup& setup, bool no_pivot);

}  // namespace davit::native
