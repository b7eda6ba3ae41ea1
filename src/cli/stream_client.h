// The client side of exec and attach: WebSocket with channels (v5.channel.k8s.io, v4 for servers that have
// no v5) to the URL that CRI's Exec and Attach return.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "cli/terminal.h"
#include "client/stream_url.h"
#include "sys/unique_fd.h"

namespace davit::cli {

struct StreamOptions {
  int stdin_fd = -1;  // -1: not wanted
  int stdout_fd = -1;
  int stderr_fd = -1;
  bool terminal = false;               // raw mode on stdin_fd when it is one, sizes sent, ctrl-p ctrl-q detaches
  Signals* signals = nullptr;          // outlives the call; SIGWINCH sends the size, with `terminal`
  std::function<void(int)> on_signal;  // gets every other one; may be empty
};

// The command's own standard streams, and its signals.
StreamOptions OwnStreams(bool interactive, bool terminal, Signals& signals);

enum class StreamEnd {
  kStatus,    // the server said how it ended
  kClosed,    // the connection ended without
  kDetached,  // the detach keys
};
struct StreamResult {
  StreamEnd end = StreamEnd::kClosed;
  int exit_code = 0;  // with kStatus
};

// A connected session.
class StreamClient {
 public:
  // kUnavailable when the server does not answer; the error of a refusal says its text.
  static Result<StreamClient> Connect(const std::string& url);
  // Pumps until the end.
  Result<StreamResult> Run(const StreamOptions& options);

 private:
  StreamClient(sys::UniqueFd fd, int version, std::string early)
      : fd_(std::move(fd)), version_(version), early_(std::move(early)) {}

  sys::UniqueFd fd_;
  int version_;
  std::string early_;  // came with the answer's head
};

}  // namespace davit::cli
