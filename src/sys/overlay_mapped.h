// Overlays over id-mapped lower directories. Private to sys/.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::sys {

// For kernels that take no detached mount as a lower directory (before 6.15 or so; Debian 12 has 6.1): the
// copies are attached in a mount namespace of a thread of its own, the overlay is made there, and only the
// finished mount comes out. Whatever ends this early, nothing of it is left. Needs user_namespace; errors as
// MountOverlay.
Status MountMappedOverlayApart(const OverlayOptions& options, const std::string& target);

// Each lower directory as a detached id-mapped copy of its mount.
Result<std::vector<UniqueFd>> MapLowers(const OverlayOptions& options);

// The same by an option string whose lower directories may be relative. Used by both ways.
Status MountOverlayByOptionString(const OverlayOptions& options, const std::string& target);

}  // namespace davit::sys
