// Devices, the links of /dev, and /dev/console.
//
// Source: OCI runtime-spec 1.3, config-linux.md, "Devices", "Default Devices"; runtime-linux.md, "Dev symbolic links".
#pragma once

#include "base/result.h"
#include "native/mounts.h"

namespace davit::native {

// The default devices and the specification's, as device nodes; where this process may not make any (a user namespace,
// no CAP_MKNOD), as bind mounts of the node's own. Each is checked to be the device that it is named for. Nothing when
// /dev is bind mounted: then it is somebody else's.
Status MakeDevices(const RootSetup& setup);
// fd, stdin, stdout, stderr, core, ptmx.
Status MakeDeviceLinks(const RootSetup& setup);
// Whether the container has a /dev of its own.
bool OwnsDev(const oci::RuntimeSpec& spec);

// O_PATH of the node's /dev/null, checked: a character device 1:3 (CVE-2025-31133).
Result<sys::UniqueFd> OpenNull();

}  // namespace davit::native
