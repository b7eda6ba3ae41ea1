// LockFile: one process at a time.
#pragma once

#include <string>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

// flock(2) on the file, made (0600) where there is none; held until the descriptor is closed, and gone with the
// process however it ends. Waits up to 3 s: a process that was killed a moment ago may still be on its way out of the
// kernel. kFailedPrecondition when another holds it then. The file stays: a name that comes and goes is no lock.
Result<UniqueFd> LockFile(const std::string& path);

}  // namespace davit::sys
