// The capability sets of a container's first process, from the defaults, the request and what this node
// holds (ARCHITECTURE.md, invariant 8).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"

namespace davit::container {

// `defaults` are clamped silently to `node`, and so is "ALL". A capability asked for by name that the
// node does not hold is kFailedPrecondition, an unknown name kInvalidArgument.
Result<oci::CapabilitySets> ResolveCapabilities(const SecurityContext& security,
                                                const std::vector<std::string>& defaults,
                                                const std::vector<std::string>& node);

}  // namespace davit::container
