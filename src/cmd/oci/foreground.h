// A process in the foreground: its terminal, the signals that are meant for it, and its end.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::oci_cli {

// Where the terminal's master goes: to the socket that the command line names, or to ourselves.
struct Console {
  sys::UniqueFd socket;    // what the container's side is given; not valid: no terminal
  sys::UniqueFd receiver;  // ours, in the foreground
};
// runc's rules: a terminal needs --console-socket when nobody stays to relay, and goes with nothing else.
Result<Console> MakeConsole(bool terminal, bool detach, const std::string& console_socket);

// Relays and waits; the exit code, 128 + N for a signal. `receiver` may be not valid.
Result<int> WaitInForeground(const sys::PidFd& process, const sys::UniqueFd& receiver);

}  // namespace davit::oci_cli
