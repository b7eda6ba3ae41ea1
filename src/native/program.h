// Program: the last steps of a new process, from its standard streams to execve(2).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "native/container.h"
#include "native/procfs.h"
#include "oci/runtime_spec.h"

namespace davit::native {

// The file that process.args[0] names: a path, or a name looked up in the PATH of process.env; as the calling process
// sees it. kInvalidArgument `exec: "x": ...` when there is none that can be executed.
Result<std::string> FindProgram(const oci::Process& process);

// `streams` become 0, 1 and 2, whichever numbers they have.
Status TakeStreams(const StandardStreams& streams);

// All handlers and the mask of signals as a program expects them.
void ResetSignals();

// process.cwd. Checked to be below the root: a directory of the node that a descriptor led to has no path here
// (CVE-2024-21626).
Status EnterDirectory(const std::string& path);

// What of the caller's descriptors goes on: 0 to 2 + `preserved`, into the program; `kept` (sockets), until the exec.
// All others are closed, now and not by the exec: until then paths like /proc/self/fd/7/.. would lead through them out
// of the container (CVE-2024-21626).
Status CloseOthers(int preserved, std::vector<int> kept);

// process.env, with HOME from the container's /etc/passwd where it has none.
std::vector<std::string> EnvironmentOf(const Procfs& procfs, const oci::Process& process);

// execve(2); returns the error only.
Status Execute(const std::string& path, const oci::Process& process, const std::vector<std::string>& environment);

}  // namespace davit::native
