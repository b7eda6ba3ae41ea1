#include "monitor/monitor.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include "base/time.h"
#include "monitor/monitor_internal.h"
#include "monitor/runtime_run.h"
#include "sys/atomic_file.h"
#include "sys/unix_socket.h"

namespace davit::monitor {
namespace {

constexpr size_t kScratchBytes = 256 * 1024;  // of address space; a page is there once a read has needed it
constexpr size_t kMaxReaped = 4096;
constexpr int64_t kTellMs = 10'000;  // for the launcher to ask why there is no container

int CodeOf(int wait_status) { return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status); }

Result<sys::UniqueFd> OpenSigchld() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return ErrnoError(errno, "block SIGCHLD");
  sys::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, "create signalfd");
  return fd;
}

// A lock of fcntl(2) tells who holds it, and ends with its process: no number in a file could be as true. For who has
// to end a monitor that does not answer.
Result<sys::UniqueFd> LockDirectory(const std::string& directory) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(directory + "/monitor.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  if (::fcntl(file.get(), F_SETLK, &lock) != 0) return ErrnoError(errno, "lock " + directory + "/monitor.lock");
  return file;
}

}  // namespace

Monitor::Monitor(LaunchOptions options, Poller poller, Limits limits)
    : options_(std::move(options)),
      limits_(limits),
      poller_(std::move(poller)),
      scratch_(kScratchBytes),
      oom_(poller_),
      stdin_(poller_) {}

Monitor::~Monitor() = default;

Result<std::unique_ptr<Monitor>> Monitor::Create(LaunchOptions options, sys::UniqueFd listener, Limits limits) {
  ASSIGN_OR_RETURN(Poller poller, Poller::Create());
  ASSIGN_OR_RETURN(sys::UniqueFd lock, LockDirectory(options.directory));
  RETURN_IF_ERROR(sys::BecomeSubreaper());
  ASSIGN_OR_RETURN(sys::UniqueFd sigchld, OpenSigchld());
  RETURN_IF_ERROR(sys::SetNonBlocking(listener.get(), true));
  std::unique_ptr<Monitor> monitor(new Monitor(std::move(options), std::move(poller), limits));
  monitor->lock_ = std::move(lock);
  monitor->listener_ = std::make_unique<Events>(*monitor, monitor->poller_, &Monitor::Accept);
  monitor->listener_->watch.Open(std::move(listener));
  monitor->listener_->watch.Set(EPOLLIN);
  monitor->sigchld_ = std::make_unique<Events>(*monitor, monitor->poller_, &Monitor::ReapChildren);
  monitor->sigchld_->watch.Open(std::move(sigchld));
  monitor->sigchld_->watch.Set(EPOLLIN);
  return monitor;
}

void Monitor::Run() {
  if (Status status = StartCreate(); !status.ok()) {
    FailCreate(std::move(status));
    // The launcher may have yet to ask, and would only find that nobody is here.
    for (int64_t left = kTellMs, until = SteadyMs() + left; !told_ && left > 0; left = until - SteadyMs()) {
      poller_.Wait(static_cast<int>(left));
    }
  }
  while (!Finished()) {
    bool handled = poller_.Wait(NextTimeoutMs());
    Tick();
    if (!handled || memory_due()) ReleaseMemory();
  }
  // Before the rest, which takes a while (the last close of a large deleted log): from here on a client
  // must find no monitor.
  listener_.reset();
}

Result<pid_t> Monitor::SpawnRuntime(sys::SpawnOptions spawn) {
  if (spawn.env.empty()) spawn.env = options_.environment;
  spawn.new_session = true;
  // The monitor's own protection from the OOM killer must not reach a container whose spec sets none.
  spawn.oom_score_adj = 0;
  ASSIGN_OR_RETURN(sys::PidFd process, sys::Spawn(spawn));
  return process.pid();  // reaped by ReapChildren
}

Result<std::vector<sys::UniqueFd>> Monitor::OpenContainerIo(sys::SpawnOptions& spawn) {
  std::vector<sys::UniqueFd> ends;
  if (options_.terminal) {
    ASSIGN_OR_RETURN(console_listener_, sys::ListenUnix(options_.console_socket, SOCK_STREAM));
    ASSIGN_OR_RETURN(sys::Pipe errors, sys::MakePipe());
    spawn.fds = {{errors.write.get(), 1}, {errors.write.get(), 2}};
    run_stderr_ = std::move(errors.read);
    ends.push_back(std::move(errors.write));
    return ends;
  }
  if (options_.open_stdin) {
    ASSIGN_OR_RETURN(sys::Pipe in, sys::MakePipe());
    RETURN_IF_ERROR(sys::SetNonBlocking(in.write.get(), true));
    spawn.fds.emplace_back(in.read.get(), 0);
    ends.push_back(std::move(in.read));
    stdin_.Open(std::move(in.write));
  }
  for (Stream stream : {Stream::kStdout, Stream::kStderr}) {
    ASSIGN_OR_RETURN(sys::Pipe pipe, sys::MakePipe());
    RETURN_IF_ERROR(sys::SetNonBlocking(pipe.read.get(), true));
    auto& pump = pumps_[static_cast<int>(stream)];
    pump = std::make_unique<Pump>(*this, poller_, stream);
    pump->watch.Open(std::move(pipe.read));
    spawn.fds.emplace_back(pipe.write.get(), static_cast<int>(stream) + 1);
    ends.push_back(std::move(pipe.write));
  }
  for (const sys::UniqueFd& end : ends) {
    if (options_.stdio_owner == 0) break;
    if (::fchown(end.get(), options_.stdio_owner, options_.stdio_owner) != 0) return ErrnoError(errno, "chown pipe");
  }
  return ends;
}

Status Monitor::StartCreate() {
  ASSIGN_OR_RETURN(LogWriter log, LogWriter::Open(options_.log_path, options_.max_log_line_bytes));
  log.RotateAt(options_.max_log_bytes, options_.max_log_files);
  log_.emplace(std::move(log));
  sys::SpawnOptions spawn;
  spawn.argv = options_.create_argv;
  ASSIGN_OR_RETURN(std::vector<sys::UniqueFd> ends, OpenContainerIo(spawn));
  log_offset_ = FileSize(options_.runtime_log);
  ASSIGN_OR_RETURN(create_pid_, SpawnRuntime(std::move(spawn)));
  return {};
}

void Monitor::OnCreateDone(int code) {
  create_pid_ = 0;
  Status status;
  if (code != 0) {
    int stderr_fd = pumps_[1] ? pumps_[1]->watch.fd() : run_stderr_.get();
    status = RuntimeError("create", code, options_.runtime_log, log_offset_, stderr_fd);
  } else {
    status = AdoptContainer();
  }
  run_stderr_.reset();
  if (!status.ok()) {
    FailCreate(std::move(status));
    return;
  }
  phase_ = Phase::kCreated;
  Publish();
  UpdateInterest();
  if (std::optional<int> ended = TakeReaped(init_)) OnInitReaped(*ended);
}

Status Monitor::AdoptContainer() {
  ASSIGN_OR_RETURN(init_, ReadPidFile(options_.pid_file));
  bool ended = std::any_of(reaped_.begin(), reaped_.end(), [this](const Reaped& r) { return r.pid == init_; });
  if (!IsOwnChild(init_)) {
    if (!ended) return Internal("pid file " + options_.pid_file + ": process is not ours to reap");
  } else {
    ASSIGN_OR_RETURN(init_fd_, sys::PidFd::Open(init_));
  }
  // Now, while the cgroup exists for sure: its counter is read when the process has ended, and by then
  // somebody may have removed the directory. An engine that cannot know the path gives none.
  if (!options_.oom_file.empty()) oom_.Open(options_.oom_file);
  if (options_.terminal) return OpenTerminal();
  return {};
}

Status Monitor::OpenTerminal() {
  ASSIGN_OR_RETURN(terminal_, ReceiveTerminal(console_listener_.get()));
  console_listener_.reset();
  ::unlink(options_.console_socket.c_str());
  RETURN_IF_ERROR(sys::SetNonBlocking(terminal_.get(), true));
  sys::UniqueFd output(::fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 0));
  sys::UniqueFd input(::fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 0));
  if (!output.valid() || !input.valid()) return ErrnoError(errno, "duplicate terminal");
  pumps_[0] = std::make_unique<Pump>(*this, poller_, Stream::kStdout);
  pumps_[0]->watch.Open(std::move(output));
  pumps_[0]->pipe_bytes = 0;
  if (options_.open_stdin) stdin_.Open(std::move(input));
  return {};
}

void Monitor::FailCreate(Status error) {
  error_ = std::move(error);
  phase_ = Phase::kExited;
  Publish();
  for (auto& connection : connections_) {
    if (connection->role == Connection::Role::kDestroy) ReplyStatus(*connection, {});
  }
  KillChildren();  // what a failed runtime may have left: its log is all that is of use
  finished_ = true;
}

Status Monitor::StartStart() {
  ASSIGN_OR_RETURN(sys::Pipe errors, sys::MakePipe());
  sys::SpawnOptions spawn;
  spawn.argv = options_.start_argv;
  spawn.fds = {{errors.write.get(), 1}, {errors.write.get(), 2}};
  run_stderr_ = std::move(errors.read);
  log_offset_ = FileSize(options_.runtime_log);
  started_at_ = WallNanos();  // before: the process's own output must not be older than it
  ASSIGN_OR_RETURN(start_pid_, SpawnRuntime(std::move(spawn)));
  return {};
}

void Monitor::OnStartDone(int code) {
  start_pid_ = 0;
  Reply reply;
  if (code == 0) {
    phase_ = Phase::kRunning;
  } else {
    started_at_ = 0;
    reply.status = RuntimeError("start", code, options_.runtime_log, log_offset_, run_stderr_.get());
    error_ = reply.status;
  }
  run_stderr_.reset();
  Publish();
  if (early_exit_) BeginExit(*std::exchange(early_exit_, std::nullopt));
  reply.state = CurrentState();
  for (auto& connection : connections_) {
    if (connection->role != Connection::Role::kStart) continue;
    connection->role = Connection::Role::kAnswered;
    Send(*connection, reply);
  }
}

void Monitor::OnInitReaped(int code) {
  init_reaped_ = true;
  // Running comes before Exited for every watcher, however quick the process was.
  if (start_pid_ != 0) {
    early_exit_ = code;
  } else {
    BeginExit(code);
  }
}

void Monitor::BeginExit(int code) {
  exit_ = ExitRecord{code, started_at_, WallNanos(), oom_.Killed(code)};
  exit_give_up_ms_ = SteadyMs() + limits_.blocked_log_ms;
  AdvanceExit();
}

void Monitor::AdvanceExit() {
  if (!exit_) return;
  if (phase_ != Phase::kExited) {
    // The log file is complete when the exit is known. A process outside the container's PID namespace may
    // hold the pipes for longer: what it writes later is still copied, but not waited for.
    DrainOutput();
    if (log_->blocked() && !destroying_ && SteadyMs() < exit_give_up_ms_) return;
    for (auto& pump : pumps_) {
      if (pump && pump->watch.open()) log_->Finish(pump->stream);
    }
    stdin_.CloseWhenWritten();
  }
  if (!exit_written_) {
    exit_written_ =
        sys::WriteFileAtomic(options_.directory + "/exit", FormatExitRecord(*exit_), 0600, sys::Durability::kAtomic)
            .ok();
  }
  if (phase_ != Phase::kExited) {
    phase_ = Phase::kExited;
    Publish();
  }
}

void Monitor::AdvanceDestroy() {
  if (!destroying_ || finished_) return;
  int64_t now = SteadyMs();
  if (destroy_force_ms_ == 0) destroy_force_ms_ = now + limits_.force_ms;
  if (create_pid_ != 0) {
    if (now >= destroy_force_ms_) KillTree(create_pid_);
    return;
  }
  if (!init_reaped_ && !init_killed_) {
    init_killed_ = true;
    IgnoreError(init_fd_.Signal(SIGKILL));
  }
  if (start_pid_ != 0 && now >= destroy_force_ms_) KillTree(start_pid_);
  for (auto& run : execs_) KillExec(*run);
  if (phase_ != Phase::kExited || !execs_.empty()) return;
  for (auto& connection : connections_) {
    if (connection->role == Connection::Role::kDestroy) ReplyStatus(*connection, {});
  }
  finished_ = true;
}

void Monitor::ReapChildren() {
  signalfd_siginfo info;
  while (::read(sigchld_->watch.fd(), &info, sizeof info) > 0) {
  }
  while (true) {
    int wait_status = 0;
    pid_t pid = ::waitpid(-1, &wait_status, WNOHANG);
    if (pid <= 0) break;
    OnReaped(pid, CodeOf(wait_status));
  }
  if (!runtime_running()) std::vector<Reaped>().swap(reaped_);
}

void Monitor::OnReaped(pid_t pid, int code) {
  if (pid == create_pid_) return OnCreateDone(code);
  if (pid == start_pid_) return OnStartDone(code);
  if (pid == init_ && !init_reaped_) return OnInitReaped(code);
  for (size_t i = 0; i < execs_.size(); ++i) {
    ExecRun& run = *execs_[i];
    if (run.runtime_pid == pid) return OnExecRuntimeDone(run, code);
    if (run.pid == pid && !run.ended) return OnExecEnded(run, code);
  }
  // Perhaps the process of a create or an exec whose pid file has not been read yet. Outside of those
  // times nobody's: an orphan of the container.
  if (!runtime_running()) return;
  if (reaped_.size() >= kMaxReaped) reaped_.erase(reaped_.begin());
  reaped_.push_back({pid, code});
}

bool Monitor::runtime_running() const {
  if (create_pid_ != 0) return true;
  return std::any_of(execs_.begin(), execs_.end(), [](const auto& run) { return run->runtime_pid != 0; });
}

std::optional<int> Monitor::TakeReaped(pid_t pid) {
  // The newest: an older entry is of another process that had the same number.
  for (size_t i = reaped_.size(); i-- > 0;) {
    if (reaped_[i].pid != pid) continue;
    int code = reaped_[i].code;
    reaped_.erase(reaped_.begin() + static_cast<std::ptrdiff_t>(i));
    return IsOwnChild(pid) ? std::nullopt : std::optional<int>(code);
  }
  return std::nullopt;
}

State Monitor::CurrentState() const {
  State state;
  state.phase = phase_;
  state.pid = init_;
  state.monitor_pid = ::getpid();
  state.started_at_nanos = started_at_;
  if (phase_ == Phase::kExited) state.exit = exit_;
  state.error = error_;
  return state;
}

void Monitor::Tick() {
  int64_t now = SteadyMs();
  if (log_ && log_->blocked()) log_->Retry();
  for (auto& pump : pumps_) {
    if (pump && pump->finish_wanted && !log_->blocked()) {
      pump->finish_wanted = false;
      log_->Finish(pump->stream);
    }
  }
  for (auto& connection : connections_) {
    if (!connection->attach) continue;
    bool over = phase_ == Phase::kExited && connection->attach->drained();
    if (over || connection->attach->Stalled(now - limits_.stall_ms)) connection->dead = true;
  }
  AdvanceExit();
  AdvanceExecs();
  AdvanceDestroy();
  Sweep();
  UpdateInterest();
}

int Monitor::NextTimeoutMs() const {
  bool busy = destroying_ || (exit_ && !exit_written_) || (exit_ && phase_ != Phase::kExited) ||
              (log_ && log_->blocked()) ||
              std::any_of(execs_.begin(), execs_.end(), [](const auto& run) { return run->kill_wanted; }) ||
              std::any_of(std::begin(pumps_), std::end(pumps_), [](const auto& p) { return p && p->hung_up; }) ||
              std::any_of(connections_.begin(), connections_.end(),
                          [](const auto& c) { return c->attach && !c->attach->drained(); });
  if (busy) return limits_.busy_tick_ms;
  return scratch_dirty_ ? limits_.quiet_ms : -1;
}

bool Monitor::Finished() const {
  if (finished_) return true;
  bool attached =
      std::any_of(connections_.begin(), connections_.end(), [](const auto& c) { return c->attach != nullptr; });
  return phase_ == Phase::kExited && exit_written_ && execs_.empty() && !attached && outputs_closed() &&
         !log_->blocked();
}

int MonitorMain() {
  sys::UniqueFd listener(kListenFd);
  sys::UniqueFd options_file(kOptionsFd);
  // Inherited: exec keeps them without the flag, and a runtime must get neither.
  ::fcntl(kListenFd, F_SETFD, FD_CLOEXEC);
  ::fcntl(kOptionsFd, F_SETFD, FD_CLOEXEC);
  // davitd's signals, terminal and death are none of ours; a write to a closed pipe or over a file size
  // limit is an error code.
  for (int signal : {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGPIPE, SIGXFSZ, SIGTSTP, SIGTTIN, SIGTTOU}) {
    ::signal(signal, SIG_IGN);
  }
  ::mallopt(M_TRIM_THRESHOLD, 64 * 1024);
  ::mallopt(M_TOP_PAD, 0);
  Result<std::unique_ptr<Monitor>> monitor = Internal("no options");
  {
    Result<std::string> text = sys::ReadAll(options_file.get(), kMaxOptionsBytes);
    options_file.reset();
    if (!text.ok()) return 1;
    Result<LaunchOptions> options = DecodeLaunchOptions(*text);
    if (!options.ok()) return 1;
    // Detached from the launcher: whoever reaps orphans reaps this, before and after a restart of davitd.
    pid_t child = ::fork();
    if (child < 0) return 1;
    if (child > 0) ::_exit(0);
    ::setsid();
    monitor = Monitor::Create(std::move(*options), std::move(listener));
  }
  if (!monitor.ok()) return 1;
  (*monitor)->Run();
  return 0;
}

}  // namespace davit::monitor
