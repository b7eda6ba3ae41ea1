// davitd's side of davit-monitor: launch one for a container, talk to it over DIR/monitor.sock, find it
// again after a restart.
//
// There is no handle that must survive: a monitor is named by its directory, every call connects anew,
// and a monitor outlives the process that launched it. The socket is bound before the monitor is spawned,
// so a refused connection always means that there is no monitor (any more); then the exit record says how
// the container ended, or there is none and it never ran.
//
// All functions block and may be called from any thread; for different or the same directory at once.
// Wire format: docs/formats/monitor-protocol.md.
//
// Errors of every call: kNotFound when there is no monitor in `directory`, kDeadlineExceeded (what was
// asked for goes on in the monitor; asking again joins it), kUnavailable when the monitor ended meanwhile.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "monitor/state.h"
#include "sys/unique_fd.h"

namespace davit::monitor {

// So long a monitor may take for what it answers at once.
inline constexpr std::chrono::milliseconds kSilence{10'000};

struct LaunchOptions {
  std::string monitor_path;  // the davit-monitor binary
  std::string directory;     // container run directory, absolute; exists. Gets monitor.sock and exit
  std::string log_path;      // CRI log, absolute; empty: output is discarded (but still attachable)
  bool terminal = false;
  bool open_stdin = false;  // false: /dev/null
  bool stdin_once = false;  // the container's stdin closes when the first attached stdin has ended

  // Whole command lines. create_argv must make the runtime write pid_file (--pid-file) and, with
  // `terminal`, use console_socket (--console-socket); runtime_log is the file of its --log option.
  std::vector<std::string> create_argv;
  std::vector<std::string> start_argv;
  std::vector<std::string> environment;  // of the monitor and of each runtime it runs
  std::string pid_file;
  std::string console_socket;  // path the monitor listens at; required with terminal, at most 107 bytes
  std::string runtime_log;     // may be empty: then the text comes from the runtime's stderr. Text or JSON lines

  // memory.oom_control (v1) or memory.events (v2) of the container's cgroup, opened right after create and
  // read at the exit: the cgroup may be gone by then. Its directory also names the cgroup for
  // Signal(all_in_container). Empty: no OOM detection.
  std::string oom_file;

  uint32_t max_log_line_bytes = 16384;  // longer lines are cut into pieces tagged P; 256 to 1 MiB
  uint64_t max_log_bytes = 0;           // a log file of that size is put aside (log_writer.h); 0: never
  uint32_t max_log_files = 1;           // with the current one
  // The user and group that own the pipes of stdio: root of the container's user namespace, on the node. Else
  // what is in it could not open /dev/stdout. 0: the node's root.
  uint32_t stdio_owner = 0;
  uint64_t descriptor_limit = 0;  // RLIMIT_NOFILE, soft, of the monitor and all that it starts; 0: the caller's
  // Of the monitor; a refusal is ignored. Runtimes (and so containers whose spec sets none) get 0.
  int oom_score_adj = -999;
};

// Spawns the monitor and waits until the container is created. On any error everything of it is gone
// (monitor, first process, socket) and the status holds the runtime's own text: kInternal when the runtime
// failed, kAlreadyExists when a monitor lives in the directory. The runtime's `delete --force` stays with
// the caller in either case. The monitor is not a child of the caller: it detaches itself (the nearest
// subreaper or PID 1 reaps it).
Result<State> Launch(const LaunchOptions& options, Deadline deadline);

// Runs start_argv. OK at once with the state when it is running; joins a start that is under way;
// kFailedPrecondition when it has exited; kInternal with the runtime's text when the runtime failed.
// The state returned is kRunning, or kExited when the process was that quick.
Result<State> Start(const std::string& directory, Deadline deadline);

Result<State> Query(const std::string& directory, Deadline deadline);

// A connection that delivers the current state at once and then each change in order; poll it for reading.
// A watcher that reads too slowly (socket buffer full) is disconnected: watch again.
Result<sys::UniqueFd> Watch(const std::string& directory);
// The next state from a Watch descriptor; waits for one. nullopt: the monitor is gone (or dropped us).
Result<std::optional<State>> ReadState(int fd);

// To the first process, through its pidfd; all_in_container: to each process of its cgroup too.
// kFailedPrecondition unless created or running. kInvalidArgument for a signal outside 1 to 64.
Status Signal(const std::string& directory, int signal, bool all_in_container);

// Opens log_path anew, after somebody renamed the file. When it returns the new file exists, the old one
// gets nothing more, and no line is lost, torn or doubled.
Status ReopenLog(const std::string& directory, Deadline deadline);

// TIOCSWINSZ; kFailedPrecondition without a terminal.
Status ResizeTerminal(const std::string& directory, uint16_t width, uint16_t height);

struct ExecOptions {
  std::vector<std::string> argv;         // runtime exec --detach --pid-file pid_file ...: whole command line
  std::vector<std::string> environment;  // empty: the one of LaunchOptions
  std::string pid_file;                  // unique to this exec, removed afterwards
  std::string console_socket;            // with terminal: as in LaunchOptions, unique, removed afterwards
  bool terminal = false;
  // The process's ends of its stdio; -1 is /dev/null. Not used with terminal. Still the caller's.
  int stdin_fd = -1;
  int stdout_fd = -1;
  int stderr_fd = -1;
  std::string runtime_log;  // as in LaunchOptions; unique to this exec, removed afterwards
};

// A process beside the container's first one. Destroying an unfinished session kills it.
class ExecSession {
 public:
  ExecSession(ExecSession&&) noexcept = default;
  ExecSession& operator=(ExecSession&&) noexcept = default;
  ~ExecSession() = default;  // the monitor sees the connection close

  [[nodiscard]] pid_t pid() const { return pid_; }  // host PID namespace
  // Terminal only, once: the pty's master. Blocking; resize with TIOCSWINSZ on it.
  sys::UniqueFd TakeTerminal() { return std::move(terminal_); }
  // Readable when the process has ended (Wait then returns at once) or the monitor is gone.
  [[nodiscard]] int fd() const { return connection_.get(); }
  // Exit code or 128 + signal, any number of times. kUnavailable when the monitor is gone.
  Result<int> Wait(Deadline deadline);
  // SIGKILL to the process and to everything in its session or process group; returns when the process
  // has been reaped and the others are dead. OK when it had ended.
  Status Kill(Deadline deadline);

 private:
  friend Result<ExecSession> Exec(const std::string&, const ExecOptions&, Deadline);
  ExecSession(sys::UniqueFd connection, pid_t pid, sys::UniqueFd terminal)
      : connection_(std::move(connection)), pid_(pid), terminal_(std::move(terminal)) {}
  sys::UniqueFd connection_;
  pid_t pid_;
  sys::UniqueFd terminal_;
  std::optional<int> code_;
};

// Returns when the process runs (it may have ended by then). kFailedPrecondition unless the container is
// running; kInternal with the runtime's text when the runtime refused (no such command); kResourceExhausted
// at 64 execs; kInvalidArgument when argv and environment exceed 128 KiB (use --process FILE).
// On the deadline the exec is killed.
Result<ExecSession> Exec(const std::string& directory, const ExecOptions& options, Deadline deadline);

struct AttachOptions {
  // The monitor's ends, pipes or sockets, still the caller's; the monitor makes their open file
  // descriptions non-blocking. -1: not attached.
  int stdin_fd = -1;   // the monitor reads the container's stdin from it
  int stdout_fd = -1;  // the monitor writes copies to these, from now on
  int stderr_fd = -1;  // never written with a terminal
};

// Ends when the container has ended and the last byte was delivered, when nobody reads for 10 s while
// 1 MiB waits, or when this is destroyed.
class AttachSession {
 public:
  [[nodiscard]] int fd() const { return connection_.get(); }  // readable when the session has ended

 private:
  friend Result<AttachSession> Attach(const std::string&, const AttachOptions&);
  explicit AttachSession(sys::UniqueFd connection) : connection_(std::move(connection)) {}
  sys::UniqueFd connection_;
};

// kFailedPrecondition when the container has ended, or with stdin_fd when it was created without stdin.
Result<AttachSession> Attach(const std::string& directory, const AttachOptions& options);

// Waits for a running create, kills the container's first process and all execs, and ends the monitor.
// When it returns OK they are gone. OK when there is no monitor. One that neither ends nor answers for twice the
// `silence` (somebody stopped it) is killed, beyond the deadline if need be: OK too, the exit record then says 137
// unless there was one, and the container's processes may live: the cgroup is the caller's to empty, as always.
Status Destroy(const std::string& directory, Deadline deadline, std::chrono::milliseconds silence = kSilence);

// directory/exit; nullopt when there is none, or it is not whole.
std::optional<ExitRecord> ReadExitRecord(const std::string& directory);

}  // namespace davit::monitor
