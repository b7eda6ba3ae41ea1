// Starts davit-init inside a scope of systemd.
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "sys/process.h"

namespace davit::pod {

// Spawns `spawn` (davit-init and its arguments) with "--wait stdin", makes the scope `cgroup` around it, and
// only then lets it begin: what it forks is born inside. Were davitd killed in between, the waiting process
// would find the end of its stdin and go, and an empty scope goes by itself. Errors as sys::StartScope and
// sys::RunCommand; nothing is left then.
Result<sys::CommandResult> RunInitInScope(sys::SpawnOptions spawn, const std::string& cgroup,
                                          const std::string& description, Deadline deadline);

}  // namespace davit::pod
