#include "engine/stream_backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "sys/namespaces.h"

namespace davit::engine {
namespace {

constexpr std::chrono::seconds kOpenBudget{60};
constexpr int kConnectTimeoutMs = 10'000;

// An exec: the monitor's session and the pipes to the process.
class ExecProcess final : public stream::Process {
 public:
  explicit ExecProcess(monitor::ExecSession session) : session_(std::move(session)) {}
  // The session's destructor makes the monitor kill an unfinished process.

  void Resize(uint16_t width, uint16_t height) override {
    // The server owns `terminal` once it has taken it; a duplicate serves the resize.
    if (!resize_fd_.valid()) return;
    winsize size{};
    size.ws_col = width;
    size.ws_row = height;
    ::ioctl(resize_fd_.get(), TIOCSWINSZ, &size);  // a terminal that is gone has no size
  }
  [[nodiscard]] int exit_fd() const override { return session_.fd(); }
  Result<int> ExitCode() override { return session_.Wait(Deadline::After(std::chrono::seconds(1))); }

  void SetTerminal(sys::UniqueFd master) {
    resize_fd_ = sys::UniqueFd(::fcntl(master.get(), F_DUPFD_CLOEXEC, 0));
    terminal = std::move(master);
  }

 private:
  monitor::ExecSession session_;
  sys::UniqueFd resize_fd_;
};

// An attach: copies of the container's own streams.
class AttachProcess final : public stream::Process {
 public:
  AttachProcess(monitor::AttachSession session, std::string directory)
      : session_(std::move(session)), directory_(std::move(directory)) {}

  void Resize(uint16_t width, uint16_t height) override {
    IgnoreError(monitor::ResizeTerminal(directory_, width, height));  // the container may just have ended
  }
  [[nodiscard]] int exit_fd() const override { return session_.fd(); }
  Result<int> ExitCode() override { return 0; }

 private:
  monitor::AttachSession session_;
  std::string directory_;
};

Result<ContainerPtr> FindAlive(const Records& records, const ContainerId& id) {
  SnapshotPtr view = records.View();
  auto it = view->containers().find(id);
  if (it == view->containers().end()) return NotFound("container " + id.str() + " not found");
  if (it->second->phase != container::Phase::kRunning && it->second->phase != container::Phase::kCreated) {
    return FailedPrecondition("container " + id.Short() + " is not running");
  }
  return it->second;
}

Result<sys::UniqueFd> Connect(int family, int port) {
  sys::UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoError(errno, "socket");
  sockaddr_storage storage{};
  socklen_t length = 0;
  if (family == AF_INET) {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage);
    address->sin_family = AF_INET;
    address->sin_port = htons(static_cast<uint16_t>(port));
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    length = sizeof *address;
  } else {
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(static_cast<uint16_t>(port));
    address->sin6_addr = in6addr_loopback;
    length = sizeof *address;
  }
  const std::string what = "connect to port " + std::to_string(port) + " of the pod";
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), length) == 0) return fd;
  if (errno != EINPROGRESS) return ErrnoError(errno, what);
  pollfd polled{fd.get(), POLLOUT, 0};
  if (::poll(&polled, 1, kConnectTimeoutMs) <= 0) return DeadlineExceeded(what + ": no answer in 10 s");
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return ErrnoError(errno, what);
  if (error != 0) return ErrnoError(error, what);
  return fd;
}

// Programs listen on either family; IPv4 is the more frequent.
Result<sys::UniqueFd> ConnectLoopback(int port) {
  Result<sys::UniqueFd> fd = Connect(AF_INET, port);
  if (fd.ok()) return fd;
  Result<sys::UniqueFd> second = Connect(AF_INET6, port);
  return second.ok() ? std::move(second) : std::move(fd);
}

}  // namespace

Result<std::unique_ptr<stream::Process>> StreamBackend::OpenExec(const stream::ExecRequest& request) {
  ASSIGN_OR_RETURN(ContainerPtr record, FindAlive(records_, request.container));
  container::ExecRequest exec;
  exec.command = request.command;
  exec.change = {request.user, request.envs, request.working_dir, request.privileged};
  exec.terminal = request.terminal;
  sys::Pipe in;
  sys::Pipe out;
  sys::Pipe err;
  if (!request.terminal) {
    if (request.want_stdin) {
      ASSIGN_OR_RETURN(in, sys::MakePipe());
    }
    if (request.want_stdout) {
      ASSIGN_OR_RETURN(out, sys::MakePipe());
    }
    if (request.want_stderr) {
      ASSIGN_OR_RETURN(err, sys::MakePipe());
    }
    exec.stdin_fd = in.read.get();
    exec.stdout_fd = out.write.get();
    exec.stderr_fd = err.write.get();
  }
  ASSIGN_OR_RETURN(monitor::ExecSession session, containers_.Exec(*record, exec, Deadline::After(kOpenBudget)));
  sys::UniqueFd terminal = session.TakeTerminal();
  auto process = std::make_unique<ExecProcess>(std::move(session));
  if (request.terminal) {
    process->SetTerminal(std::move(terminal));
  } else {
    process->stdin_fd = std::move(in.write);
    process->stdout_fd = std::move(out.read);
    process->stderr_fd = std::move(err.read);
  }
  return std::unique_ptr<stream::Process>(std::move(process));
}

Result<std::unique_ptr<stream::Process>> StreamBackend::OpenAttach(const stream::AttachRequest& request) {
  ASSIGN_OR_RETURN(ContainerPtr record, FindAlive(records_, request.container));
  const std::string directory = containers_.paths().Directory(record->id);
  monitor::AttachOptions options;
  // With a terminal one socket carries both directions; the monitor's end of it is this pair's second.
  std::pair<sys::UniqueFd, sys::UniqueFd> pair;
  sys::Pipe in;
  sys::Pipe out;
  sys::Pipe err;
  if (request.terminal) {
    ASSIGN_OR_RETURN(pair, sys::MakeSocketPair(SOCK_STREAM));
    if (request.want_stdin && record->spec.open_stdin) options.stdin_fd = pair.second.get();
    options.stdout_fd = pair.second.get();
  } else {
    if (request.want_stdin && record->spec.open_stdin) {
      ASSIGN_OR_RETURN(in, sys::MakePipe());
      options.stdin_fd = in.read.get();
    }
    if (request.want_stdout) {
      ASSIGN_OR_RETURN(out, sys::MakePipe());
      options.stdout_fd = out.write.get();
    }
    if (request.want_stderr) {
      ASSIGN_OR_RETURN(err, sys::MakePipe());
      options.stderr_fd = err.write.get();
    }
  }
  ASSIGN_OR_RETURN(monitor::AttachSession session, monitor::Attach(directory, options));
  auto process = std::make_unique<AttachProcess>(std::move(session), directory);
  process->terminal = std::move(pair.first);
  process->stdin_fd = std::move(in.write);
  process->stdout_fd = std::move(out.read);
  process->stderr_fd = std::move(err.read);
  return std::unique_ptr<stream::Process>(std::move(process));
}

Result<sys::UniqueFd> StreamBackend::OpenPort(const PodId& id, int port) {
  SnapshotPtr view = records_.View();
  auto it = view->pods().find(id);
  if (it == view->pods().end()) return NotFound("pod sandbox " + id.str() + " not found");
  if (it->second->phase != pod::Phase::kReady) {
    return FailedPrecondition("pod sandbox " + id.Short() + " is not ready");
  }
  if (it->second->spec.network == pod::NamespaceMode::kNode) return ConnectLoopback(port);
  Result<sys::UniqueFd> connected = Internal("not tried");
  RETURN_IF_ERROR(sys::RunInNamespace(pods_.Namespace(id, "net"), sys::NamespaceKind::kNet, [&]() -> Status {
    connected = ConnectLoopback(port);
    return connected.status();
  }));
  return connected;
}

}  // namespace davit::engine
