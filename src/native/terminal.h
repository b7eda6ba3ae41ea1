// The terminal of a container's process: made in the container's devpts, its master handed to who asked for it.
//
// The other side of the container is not trusted with a name: the slave comes from the master (TIOCGPTPEER), not from
// its path (CVE-2025-52565), and both are checked to be of a devpts.
#pragma once

#include "base/result.h"
#include "native/procfs.h"
#include "oci/runtime_spec.h"
#include "sys/unique_fd.h"

namespace davit::native {

struct Terminal {
  sys::UniqueFd master;
  sys::UniqueFd slave;
  std::string name;  // "/dev/pts/0"
};

// From /dev/pts/ptmx below `root`.
Result<Terminal> OpenTerminal(const Procfs& procfs, int root, const oci::Process& process);
// A bind mount of the slave at /dev/console.
Status MountConsole(int root, const Terminal& terminal);
// Sends the master and closes it.
Status SendTerminal(int console, Terminal& terminal);
// The slave as 0, 1, 2 and as the controlling terminal of the session that this process leads.
Status TakeTerminal(Terminal& terminal);

}  // namespace davit::native
