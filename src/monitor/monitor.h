// The monitor of one container: what the davit-monitor binary runs. See client.h for what it promises and
// docs/formats/monitor-protocol.md for what it speaks.
//
// One thread. Everything waits in one epoll; the only blocking calls are writes to the log file and the
// spawn of a runtime. It is the subreaper of everything it starts, so that the container's first process
// and the exec'd ones become its children when the runtime that made them ends.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monitor/attach.h"
#include "monitor/log_writer.h"
#include "monitor/oom_watch.h"
#include "monitor/poller.h"
#include "monitor/protocol.h"
#include "monitor/runtime_run.h"
#include "sys/process.h"

namespace davit::monitor {

// Caps and times of one monitor. The defaults are what davit-monitor runs with; tests make them small.
struct Limits {
  size_t connections = 128;        // one more is closed at once
  size_t execs = 64;               // one more is refused
  int64_t stall_ms = kStallMs;     // an attached client that reads nothing for this long is dropped
  int64_t blocked_log_ms = 5'000;  // how long a full disk may delay the news of the exit
  int64_t force_ms = 10'000;       // how long a destroy or an exec kill waits for a runtime to finish by itself
  int busy_tick_ms = 250;          // between two looks at what no descriptor tells
  int quiet_ms = 1'000;            // without large output before memory goes back
};

class Monitor {
 public:
  // `listener` is a listening SOCK_SEQPACKET socket.
  static Result<std::unique_ptr<Monitor>> Create(LaunchOptions options, sys::UniqueFd listener, Limits limits = {});
  ~Monitor();

  // Until the container has ended and nobody needs the monitor any more.
  void Run();

 private:
  struct Events;      // listener and SIGCHLD
  struct Pump;        // one output of the container
  struct Connection;  // one client
  struct ExecRun;     // one exec
  struct Reaped {
    pid_t pid;
    int code;
  };

  Monitor(LaunchOptions options, Poller poller, Limits limits);

  // monitor.cc: the container's life.
  Result<std::vector<sys::UniqueFd>> OpenContainerIo(sys::SpawnOptions& spawn);  // the child's ends
  Status StartCreate();
  void OnCreateDone(int code);
  Status AdoptContainer();
  Status OpenTerminal();
  void FailCreate(Status error);
  Status StartStart();
  void OnStartDone(int code);
  void OnInitReaped(int code);
  void BeginExit(int code);
  void AdvanceExit();
  void AdvanceDestroy();
  void ReapChildren();
  void OnReaped(pid_t pid, int code);
  std::optional<int> TakeReaped(pid_t pid);
  [[nodiscard]] bool runtime_running() const;
  Result<pid_t> SpawnRuntime(sys::SpawnOptions spawn);
  [[nodiscard]] State CurrentState() const;

  // monitor_io.cc: output and memory.
  void OnOutput(Pump& pump, uint32_t epoll_events);
  size_t ReadOutput(Pump& pump);
  void Pace(Pump& pump, size_t bytes);
  void DrainOutput();
  void CloseOutput(Pump& pump);
  void UpdateInterest();
  void ReleaseMemory();
  [[nodiscard]] bool memory_due() const;
  [[nodiscard]] bool outputs_closed() const;

  // monitor_requests.cc: clients.
  void Accept();
  void OnMessage(Connection& connection);
  void Handle(Connection& connection, Request request, std::vector<sys::UniqueFd> fds);
  void HandleStart(Connection& connection);
  Status HandleSignal(const Request& request);
  Status HandleAttach(Connection& connection, const Request& request, std::vector<sys::UniqueFd> fds);
  void Send(Connection& connection, const Reply& reply, int fd = -1);
  void ReplyStatus(Connection& connection, Status status);
  void Publish();  // the state to all watchers
  void Sweep();

  // monitor_exec.cc: execs.
  Status HandleExec(Connection& connection, Request request, std::vector<sys::UniqueFd> fds);
  void OnExecRuntimeDone(ExecRun& run, int code);
  Result<sys::UniqueFd> AdoptExec(ExecRun& run, int code);
  void OnExecEnded(ExecRun& run, int code);
  void KillExec(ExecRun& run);
  void AdvanceExecs();
  static void RemoveExecFiles(const ExecRun& run);

  void Tick();
  [[nodiscard]] int NextTimeoutMs() const;
  [[nodiscard]] bool Finished() const;

  LaunchOptions options_;
  const Limits limits_;
  sys::UniqueFd lock_;  // DIR/monitor.lock: names this process for as long as it lives
  Poller poller_;
  std::unique_ptr<Events> listener_;
  std::unique_ptr<Events> sigchld_;
  PageBuffer scratch_;  // one read of output or stdin
  bool scratch_dirty_ = false;
  int64_t large_read_ms_ = 0;  // when so much was last read that its memory is worth giving back, else 0
  std::optional<LogWriter> log_;

  Phase phase_ = Phase::kCreating;
  pid_t create_pid_ = 0;  // runtime runs under way, else 0
  pid_t start_pid_ = 0;
  pid_t init_ = 0;
  sys::PidFd init_fd_;
  bool init_reaped_ = false;
  std::optional<int> early_exit_;   // reaped before the runtime's start has ended
  std::optional<ExitRecord> exit_;  // known, and published once phase_ is kExited
  bool exit_written_ = false;
  int64_t exit_give_up_ms_ = 0;  // publish even though the log is blocked
  int64_t started_at_ = 0;
  Status error_;
  uint64_t log_offset_ = 0;   // of the runtime's log, where the run under way began
  sys::UniqueFd run_stderr_;  // read end of the running runtime's stderr, where it is not the container's
  sys::UniqueFd console_listener_;
  sys::UniqueFd terminal_;  // for TIOCSWINSZ; the pump and stdin have duplicates
  OomWatch oom_;
  std::vector<Reaped> reaped_;  // not known as anybody's, while a runtime run is under way

  std::unique_ptr<Pump> pumps_[2];
  ContainerStdin stdin_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<ExecRun>> execs_;

  bool destroying_ = false;
  bool init_killed_ = false;
  int64_t destroy_force_ms_ = 0;  // when the runtime that is under way gets killed
  bool finished_ = false;
  bool told_ = false;  // somebody watches: the launcher
};

// davit-monitor's main after its arguments: kListenFd and kOptionsFd are open. Returns the exit code.
int MonitorMain();

}  // namespace davit::monitor
