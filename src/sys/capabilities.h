// capabilities(7): names, and what this process itself holds.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace davit::sys {

// "CAP_CHOWN", ... in number order, up to /proc/sys/kernel/cap_last_cap.
std::vector<std::string> KnownCapabilities();
// The process's own bounding set: what "all capabilities" can mean on this node (invariant 8).
Result<std::vector<std::string>> BoundingCapabilities();

}  // namespace davit::sys
