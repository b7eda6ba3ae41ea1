// ProbeUpper: whether containers can write to a root of this kind, told before the first of them is made.
#pragma once

#include <string>

#include "base/result.h"

namespace davit::store {

// Mounts an overlay in <root>/overlay-probe, deletes and replaces in it what lies below (whiteouts and opaque
// directories), and takes all of it away; some milliseconds. The caller alone uses the root (Database's lock): what a
// davitd that was killed here has left is taken away first.
// kFailedPrecondition, with what to do: the file system cannot do it at all (overlayfs itself, read-only, no trusted.*
// attributes), and never will. Any other error is one of the moment (a full disk): it says nothing about the kind.
Status ProbeUpper(const std::string& root);

}  // namespace davit::store
