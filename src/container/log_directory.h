// The directories between a pod's log directory and a container's log file.
#pragma once

#include <string>

#include "base/result.h"

namespace davit::container {

// Makes `log_directory` and, below it, the directories of `log_path` (relative, without ".."; its last part
// is the file), mode 0755, as the kubelet leaves it to the runtime. Links are followed on the way to
// log_directory, which the administrator may have put elsewhere, and not below it: a container that sees the
// node's log directory could point one at any place of the node. kFailedPrecondition naming the link, or the
// log file when something else than a file is there.
Status MakeLogDirectories(const std::string& log_directory, const std::string& log_path);

}  // namespace davit::container
