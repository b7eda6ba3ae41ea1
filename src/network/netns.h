// What a pod's network namespace needs before any interface comes into it.
#pragma once

#include "base/status.h"

namespace davit::network {

// In the calling thread's network namespace (run it as `inside` of sys::CreatePinnedNamespaces):
// interfaces that come later ignore router advertisements, which another pod on the same bridge could
// forge (CVE-2020-10749). OK when the kernel has no IPv6.
Status HardenNamespace();

}  // namespace davit::network
