// Backend: what the streaming server asks of the engine when a ticket is redeemed.
//
// The server knows wires (SPDY, WebSocket) and descriptors; the backend knows containers and pods. A
// backend opens descriptors, and the server's pump copies between them and the client.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::stream {

// CRI v1 ExecRequest and AttachRequest, already validated by the caller: at least one of the streams is
// wanted, and with a terminal stderr is not.
struct ExecRequest {
  ContainerId container;
  std::vector<std::string> command;
  bool terminal = false;
  bool want_stdin = false;
  bool want_stdout = false;
  bool want_stderr = false;
  // Beyond CRI; empty: the container's.
  std::string user;               // "name|uid[:group|gid]"
  std::vector<std::string> envs;  // "KEY=value", over the container's
  std::string working_dir;
  bool privileged = false;
};

struct AttachRequest {
  ContainerId container;
  bool terminal = false;
  bool want_stdin = false;
  bool want_stdout = false;
  bool want_stderr = false;
};

// `ports` restricts what the ticket unlocks; empty: any port from 1 to 65535 (the kubelet always sends
// the list empty or full, and the client names the port again per connection).
struct PortForwardRequest {
  PodId pod;
  std::vector<int> ports;
};

// A process that an exec started, or a container that an attach joined. The server owns it and destroys
// it on a worker thread.
//
// The four descriptors belong to the server from the moment Open… returns; it takes them out of here,
// sets O_NONBLOCK on their open file descriptions (so these must not be shared with somebody who counts
// on blocking) and closes each when its direction has ended. They must be something epoll(7) takes:
// pipes, sockets, pseudo-terminals.
class Process {
 public:
  // Unless it has ended: an exec is killed, an attach detaches. May block for a short while.
  virtual ~Process() = default;

  sys::UniqueFd stdin_fd;   // write end; closing it is the process's end of input. Not with a terminal.
  sys::UniqueFd stdout_fd;  // read end
  sys::UniqueFd stderr_fd;  // read end
  sys::UniqueFd terminal;   // pseudo-terminal master, or a socket that stands for it: replaces the three

  // The window size in characters. On the io thread: must not block. Only with a terminal.
  virtual void Resize(uint16_t width, uint16_t height) = 0;

  // A descriptor that polls readable once the process has ended (a pidfd, the read end of a pipe). Stays
  // the Process's. -1: "ended" is when stdout, stderr and the terminal have come to their end.
  [[nodiscard]] virtual int exit_fd() const = 0;

  // Called once exit_fd() is readable, at most once, on the io thread: must not block. For an exec: the
  // exit code (128 + signal). For an attach the value is ignored: an attach that the container's end
  // ended has succeeded. An error becomes the session's failure text.
  virtual Result<int> ExitCode() = 0;
};

// All three are called on a worker thread of the server, several at a time; they may block for tens of
// milliseconds. Their error reaches the client as text, kNotFound and the like all the same.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual Result<std::unique_ptr<Process>> OpenExec(const ExecRequest& request) = 0;
  virtual Result<std::unique_ptr<Process>> OpenAttach(const AttachRequest& request) = 0;

  // A connected TCP socket (127.0.0.1 or ::1 inside the pod's network namespace); its O_NONBLOCK is the
  // server's business.
  virtual Result<sys::UniqueFd> OpenPort(const PodId& pod, int port) = 0;
};

}  // namespace davit::stream
