// RunTreeSession: one job about the files of a container, in a process of its own (`davit-pull --tree`): what is in
// there may hang (a FUSE filesystem of the container's own) or lie, and the archive is anybody's.
#pragma once

#include "base/status.h"

namespace davit::image {

// Reads the job, does it, and reports. The descriptors are those of tree_messages.h.
Status RunTreeSession();

}  // namespace davit::image
