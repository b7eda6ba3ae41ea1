// The monitor's inner structs, shared by its translation units; not for others.
#pragma once

#include "monitor/monitor.h"

namespace davit::monitor {

inline constexpr size_t kDefaultPipeBytes = 64 * 1024;  // pipe(7)

struct Monitor::Events final : Pollable {
  Events(Monitor& owner, Poller& poller, void (Monitor::*handler)())
      : monitor(owner), on_ready(handler), watch(poller, this) {}
  void OnReady(uint32_t) override { (monitor.*on_ready)(); }

  Monitor& monitor;
  void (Monitor::*on_ready)();
  PolledFd watch;
};

struct Monitor::Pump final : Pollable {
  Pump(Monitor& owner, Poller& poller, Stream which) : monitor(owner), stream(which), watch(poller, this) {}
  void OnReady(uint32_t events) override { monitor.OnOutput(*this, events); }

  Monitor& monitor;
  Stream stream;
  PolledFd watch;
  size_t pipe_bytes = kDefaultPipeBytes;  // what the pipe holds; 0: a terminal
  bool grown = false;                     // asked for a larger pipe since the last quiet time
  int64_t read_at_us = 0;                 // the last read's time
  int quick_reads = 0;                    // in a row, each close behind the one before
  bool hung_up = false;                   // terminal without an open slave: polled again at hung_up_until
  int64_t hung_up_until = 0;
  bool finish_wanted = false;  // the last line could not be written yet (log blocked)
};

struct Monitor::Connection final : Pollable {
  enum class Role { kNew, kWatch, kStart, kExec, kAttach, kDestroy, kAnswered };

  Connection(Monitor& owner, Poller& poller) : monitor(owner), watch(poller, this) {}
  void OnReady(uint32_t) override { monitor.OnMessage(*this); }

  Monitor& monitor;
  PolledFd watch;
  Role role = Role::kNew;
  std::unique_ptr<AttachPeer> attach;
  bool dead = false;  // deleted by the next Sweep
};

struct Monitor::ExecRun {
  ExecOptions options;
  Connection* connection = nullptr;  // nullptr: the client is gone
  pid_t runtime_pid = 0;             // runtime exec under way, else 0
  pid_t pid = 0;                     // the process, once known
  pid_t session = 0;                 // the session that is its own
  sys::UniqueFd console_listener;
  sys::UniqueFd error_pipe;  // the runtime's stderr, terminal only
  bool kill_wanted = false;
  int64_t force_ms = 0;  // when the runtime itself gets killed
  bool ended = false;    // deleted by the next Sweep
};

}  // namespace davit::monitor
