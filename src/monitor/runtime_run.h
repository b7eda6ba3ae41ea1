// What the monitor needs around one run of the OCI runtime: its error text, its pid file, the terminal it
// hands over, and killing what it left.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::monitor {

// The message in a runtime's log: the last line of level error (else the last line), whether JSON
// ({"msg":"..."}), logfmt (msg="...") or plain text. At most 4 KiB; empty when there is none. Pure.
std::string RuntimeMessage(std::string_view log);

// Why a runtime failed: from its log behind `log_offset`, else from what is in the pipe of its stderr
// (read without blocking; may be -1), else its exit code. `what` is "create", "start", "exec".
// kInvalidArgument when it is about the program that the request names (not there, not executable), else kInternal.
Status RuntimeError(std::string_view what, int exit_code, const std::string& log_path, uint64_t log_offset,
                    int stderr_fd);
// Size of the file now, 0 when it is not there: the log_offset for RuntimeError.
uint64_t FileSize(const std::string& path);

Result<pid_t> ReadPidFile(const std::string& path);

// The pty master that the runtime has sent to the (listening) console socket before it ended.
Result<sys::UniqueFd> ReceiveTerminal(int listen_fd);

// Whether `pid` is a child of this process, running or not yet reaped.
bool IsOwnChild(pid_t pid);

// SIGKILL to every process in the session or in the process group `pid`, but `pid` itself, until none is left
// (forks included; at most 100 rounds). `pid` is a child that has not been reaped: that pins both numbers.
void KillSession(pid_t pid, pid_t session);
// SIGKILL to `pid` and all its descendants, whatever session they are in.
void KillTree(pid_t pid);
// SIGKILL to every child of this process.
void KillChildren();
// `signal` to each process listed in the file (cgroup.procs), but `except`.
void SignalListed(const std::string& procs_file, int signal, pid_t except);

}  // namespace davit::monitor
