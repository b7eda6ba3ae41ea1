#include "monitor/client.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/time.h"
#include "monitor/protocol.h"
#include "sys/atomic_file.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace davit::monitor {
namespace {

constexpr size_t kMaxReplyBytes = 64 * 1024;
constexpr auto kShort = kSilence;                 // for requests that the monitor answers at once
constexpr auto kUndo = std::chrono::seconds(20);  // for the end of a monitor whose launch failed

std::string SocketPath(const std::string& directory) { return directory + "/monitor.sock"; }

struct FullReply {
  Reply reply;
  std::vector<sys::UniqueFd> fds;
};

Result<sys::UniqueFd> Connect(const std::string& directory) {
  Result<sys::UniqueFd> fd = sys::ConnectUnix(SocketPath(directory), SOCK_SEQPACKET);
  if (fd.ok()) return fd;
  if (fd.code() == StatusCode::kNotFound || fd.code() == StatusCode::kUnavailable) {
    return NotFound("monitor in " + directory + ": " + fd.status().message());
  }
  return fd.status();
}

Result<sys::UniqueFd> Ask(const std::string& directory, const Request& request, const std::vector<int>& fds = {}) {
  ASSIGN_OR_RETURN(sys::UniqueFd connection, Connect(directory));
  std::string packet = EncodeRequest(request);
  if (packet.size() > kMaxPacketBytes) {
    return InvalidArgument("monitor request: " + std::to_string(packet.size()) + " bytes, at most " +
                           std::to_string(kMaxPacketBytes));
  }
  RETURN_IF_ERROR(sys::SendWithFds(connection.get(), packet, fds).Annotate("monitor in " + directory));
  return connection;
}

// nullopt: the connection is closed.
Result<std::optional<FullReply>> Receive(int fd, Deadline deadline) {
  ASSIGN_OR_RETURN(sys::Message message, sys::ReceiveWithFds(fd, kMaxReplyBytes, deadline));
  if (message.data.empty()) {
    // A reset (our last packet was not read) is reported before what had been queued for us.
    ASSIGN_OR_RETURN(message, sys::ReceiveWithFds(fd, kMaxReplyBytes, deadline));
    if (message.data.empty()) return std::optional<FullReply>();
  }
  ASSIGN_OR_RETURN(Reply reply, DecodeReply(message.data));
  return std::optional<FullReply>(FullReply{std::move(reply), std::move(message.fds)});
}

Result<FullReply> ReceiveOne(int fd, Deadline deadline) {
  ASSIGN_OR_RETURN(std::optional<FullReply> reply, Receive(fd, deadline));
  if (!reply) return Unavailable("the monitor ended");
  if (!reply->reply.status.ok()) return reply->reply.status;
  return std::move(*reply);
}

Result<State> Call(const std::string& directory, const Request& request, Deadline deadline) {
  ASSIGN_OR_RETURN(sys::UniqueFd connection, Ask(directory, request));
  ASSIGN_OR_RETURN(FullReply reply, ReceiveOne(connection.get(), deadline));
  return reply.reply.state;
}

Status CheckLaunch(const LaunchOptions& options) {
  if (options.directory.empty() || options.directory[0] != '/') return InvalidArgument("directory is not absolute");
  if (options.create_argv.empty() || options.start_argv.empty())
    return InvalidArgument("create_argv or start_argv is empty");
  if (options.pid_file.empty()) return InvalidArgument("pid_file is empty");
  if (options.terminal && options.console_socket.empty()) return InvalidArgument("console_socket is empty");
  return {};
}

Result<sys::UniqueFd> OptionsFile(const LaunchOptions& options) {
  std::string text = EncodeLaunchOptions(options);
  if (text.size() > kMaxOptionsBytes) {
    return InvalidArgument("options: " + std::to_string(text.size()) + " bytes, at most " +
                           std::to_string(kMaxOptionsBytes));
  }
  sys::UniqueFd file(::memfd_create("davit-monitor-options", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoError(errno, "create memfd");
  RETURN_IF_ERROR(sys::WriteAll(file.get(), text));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "rewind memfd");
  return file;
}

Status SpawnMonitor(const LaunchOptions& options, Deadline deadline) {
  // Bound and listening before the spawn: a connection that is refused means no monitor, at any time.
  ASSIGN_OR_RETURN(sys::UniqueFd listener, sys::ListenUnix(SocketPath(options.directory), SOCK_SEQPACKET));
  ASSIGN_OR_RETURN(sys::UniqueFd file, OptionsFile(options));
  sys::SpawnOptions spawn;
  spawn.argv = {options.monitor_path};
  spawn.env = options.environment;
  spawn.cwd = "/";
  spawn.fds = {{listener.get(), kListenFd}, {file.get(), kOptionsFd}};
  spawn.oom_score_adj = options.oom_score_adj;
  spawn.descriptor_limit = options.descriptor_limit;
  ASSIGN_OR_RETURN(sys::PidFd process, sys::Spawn(spawn));
  ASSIGN_OR_RETURN(sys::ExitStatus exit, process.Reap(deadline));  // it forks and leaves
  if (exit.code != 0) return Internal(options.monitor_path + ": exit code " + std::to_string(exit.code));
  return {};
}

Result<State> WaitCreated(int fd, Deadline deadline) {
  while (true) {
    ASSIGN_OR_RETURN(FullReply reply, ReceiveOne(fd, deadline));
    const State& state = reply.reply.state;
    if (state.phase == Phase::kCreating) continue;
    RETURN_IF_ERROR(state.error);
    return state;
  }
}

}  // namespace

Result<State> Launch(const LaunchOptions& options, Deadline deadline) {
  RETURN_IF_ERROR(CheckLaunch(options).Annotate("launch monitor"));
  const std::string intent = "launch monitor in " + options.directory;
  if (Connect(options.directory).ok()) return AlreadyExists(intent + ": one is running");
  for (const std::string& stale : {options.directory + "/exit", options.pid_file}) {
    if (::unlink(stale.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, "remove " + stale).Annotate(intent);
  }
  Status status = SpawnMonitor(options, deadline);
  if (status.ok()) {
    Result<sys::UniqueFd> watch = Watch(options.directory);
    Result<State> state = watch.ok() ? WaitCreated(watch->get(), deadline) : watch.status();
    if (state.ok()) return state;
    status = state.status();
  }
  status = status.Annotate(intent).WithUndoError(Destroy(options.directory, Deadline::After(kUndo)));
  ::unlink(SocketPath(options.directory).c_str());
  return status;
}

Result<State> Start(const std::string& directory, Deadline deadline) {
  return Call(directory, {.type = RequestType::kStart}, deadline);
}

Result<State> Query(const std::string& directory, Deadline deadline) {
  return Call(directory, {.type = RequestType::kQuery}, deadline);
}

Result<sys::UniqueFd> Watch(const std::string& directory) { return Ask(directory, {.type = RequestType::kWatch}); }

Result<std::optional<State>> ReadState(int fd) {
  ASSIGN_OR_RETURN(std::optional<FullReply> reply, Receive(fd, Deadline::Infinite()));
  if (!reply) return std::optional<State>();
  return std::optional<State>(reply->reply.state);
}

Status Signal(const std::string& directory, int signal, bool all_in_container) {
  if (signal < 1 || signal > 64) return InvalidArgument("signal " + std::to_string(signal));
  Request request{.type = RequestType::kSignal, .signal = signal, .all = all_in_container};
  return Call(directory, request, Deadline::After(kShort)).status();
}

Status ReopenLog(const std::string& directory, Deadline deadline) {
  return Call(directory, {.type = RequestType::kReopenLog}, deadline).status();
}

Status ResizeTerminal(const std::string& directory, uint16_t width, uint16_t height) {
  Request request{.type = RequestType::kResize, .width = width, .height = height};
  return Call(directory, request, Deadline::After(kShort)).status();
}

Result<ExecSession> Exec(const std::string& directory, const ExecOptions& options, Deadline deadline) {
  Request request{.type = RequestType::kExec, .exec = options};
  std::vector<int> fds;
  if (options.terminal) {
    request.exec.stdin_fd = request.exec.stdout_fd = request.exec.stderr_fd = -1;
  } else {
    for (int fd : {options.stdin_fd, options.stdout_fd, options.stderr_fd}) {
      if (fd >= 0) fds.push_back(fd);
    }
  }
  ASSIGN_OR_RETURN(sys::UniqueFd connection, Ask(directory, request, fds));
  ASSIGN_OR_RETURN(FullReply reply, ReceiveOne(connection.get(), deadline));
  sys::UniqueFd terminal;
  if (options.terminal) {
    if (reply.fds.size() != 1) return Internal("exec: the monitor sent no terminal");
    terminal = std::move(reply.fds[0]);
    // The runtime's end was made blocking by nobody else: callers may set O_NONBLOCK themselves.
    RETURN_IF_ERROR(sys::SetNonBlocking(terminal.get(), false));
  }
  return ExecSession(std::move(connection), reply.reply.exec_pid, std::move(terminal));
}

Result<int> ExecSession::Wait(Deadline deadline) {
  while (!code_) {
    ASSIGN_OR_RETURN(FullReply reply, ReceiveOne(connection_.get(), deadline));
    if (reply.reply.exec_code >= 0) code_ = reply.reply.exec_code;
  }
  return *code_;
}

Status ExecSession::Kill(Deadline deadline) {
  if (code_ || Wait(Deadline::After({})).ok()) return {};
  // A failing send means that the monitor has ended, after the process: its last word is still to be read.
  IgnoreError(sys::SendWithFds(connection_.get(), EncodeRequest({.type = RequestType::kExecKill}), {}));
  return Wait(deadline).status();
}

Result<AttachSession> Attach(const std::string& directory, const AttachOptions& options) {
  Request request{.type = RequestType::kAttach, .attach = options};
  std::vector<int> fds;
  for (int fd : {options.stdin_fd, options.stdout_fd, options.stderr_fd}) {
    if (fd >= 0) fds.push_back(fd);
  }
  ASSIGN_OR_RETURN(sys::UniqueFd connection, Ask(directory, request, fds));
  RETURN_IF_ERROR(ReceiveOne(connection.get(), Deadline::After(kShort)).status());
  return AttachSession(std::move(connection));
}

namespace {

// Who holds the lock of the directory; nothing when nobody does.
std::optional<pid_t> LockHolder(int fd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  if (::fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK || lock.l_pid <= 0) return std::nullopt;
  return lock.l_pid;
}

// SIGKILL for a monitor that does not answer: stopped, or stuck in the kernel. What it was the parent of is the
// caller's to end; that this was asked for is left as the exit record, for nobody else will write one.
Status KillSilent(const std::string& directory, Deadline deadline) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(directory + "/monitor.lock", O_RDWR | O_NOFOLLOW));
  std::optional<pid_t> holder = LockHolder(file.get());
  if (!holder) return NotFound("nobody holds " + directory + "/monitor.lock");
  ASSIGN_OR_RETURN(sys::PidFd process, sys::PidFd::Open(*holder));
  // Still the same one now that the descriptor names it: the number cannot have gone to another process.
  if (LockHolder(file.get()) != holder) return {};
  RETURN_IF_ERROR(process.Signal(SIGKILL));
  if (!process.WaitEnded(deadline)) return DeadlineExceeded("process " + std::to_string(*holder) + " survives SIGKILL");
  if (ReadExitRecord(directory)) return {};
  ExitRecord killed{128 + SIGKILL, 0, WallNanos(), false};
  return sys::WriteFileAtomic(directory + "/exit", FormatExitRecord(killed), 0600, sys::Durability::kAtomic);
}

}  // namespace

Status Destroy(const std::string& directory, Deadline deadline, std::chrono::milliseconds silence) {
  Result<sys::UniqueFd> connection = Ask(directory, {.type = RequestType::kDestroy});
  // Unavailable: it ended between the connect and the send.
  if (connection.code() == StatusCode::kNotFound || connection.code() == StatusCode::kUnavailable) return {};
  if (!connection.ok()) return connection.status();
  while (true) {
    Result<std::optional<FullReply>> reply = Receive(connection->get(), deadline.Min(Deadline::After(silence)));
    if (reply.code() == StatusCode::kDeadlineExceeded) {
      // It may have a process to wait for; but then it answers.
      Result<State> alive = Query(directory, Deadline::After(silence));
      if (alive.ok() && !deadline.expired()) continue;
      if (alive.code() == StatusCode::kDeadlineExceeded)
        return KillSilent(directory, Deadline::After(kShort)).Annotate("kill the silent monitor in " + directory);
      if (alive.code() == StatusCode::kNotFound || alive.code() == StatusCode::kUnavailable) return {};
    }
    if (!reply.ok()) return reply.status().Annotate("destroy monitor in " + directory);
    if (!*reply) return {};  // closed by its end
    if (!(*reply)->reply.status.ok()) return (*reply)->reply.status;
  }
}

std::optional<ExitRecord> ReadExitRecord(const std::string& directory) {
  Result<std::string> text = sys::ReadFile(directory + "/exit", 4096);
  if (!text.ok()) return std::nullopt;
  Result<ExitRecord> record = ParseExitRecord(*text);
  return record.ok() ? std::optional<ExitRecord>(*record) : std::nullopt;
}

}  // namespace davit::monitor
