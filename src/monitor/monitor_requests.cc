// The monitor's clients: one request a connection.
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "monitor/monitor_internal.h"
#include "monitor/runtime_run.h"
#include "sys/unix_socket.h"

namespace davit::monitor {

void Monitor::Accept() {
  Result<sys::UniqueFd> fd = sys::AcceptUnix(listener_->watch.fd());
  if (!fd.ok()) return;
  Result<sys::PeerCredentials> peer = sys::PeerOf(fd->get());
  if (!peer.ok() || peer->uid != ::geteuid()) return;
  if (connections_.size() >= limits_.connections || !sys::SetNonBlocking(fd->get(), true).ok()) return;
  auto connection = std::make_unique<Connection>(*this, poller_);
  connection->watch.Open(std::move(*fd));
  connection->watch.Set(EPOLLIN);
  connections_.push_back(std::move(connection));
}

void Monitor::OnMessage(Connection& connection) {
  scratch_dirty_ = true;  // gives the memory of the request back, later
  // The size first: a buffer for the largest packet would stay in the heap.
  char peek = 0;
  ssize_t size = ::recv(connection.watch.fd(), &peek, 1, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0 || static_cast<size_t>(size) > kMaxPacketBytes) {
    connection.dead = true;
    return;
  }
  Result<sys::Message> message =
      sys::ReceiveWithFds(connection.watch.fd(), static_cast<size_t>(size), Deadline::After({}));
  if (!message.ok() || message->data.empty()) {
    connection.dead = true;
    return;
  }
  Result<Request> request = DecodeRequest(message->data);
  if (!request.ok()) {
    ReplyStatus(connection, request.status());
    return;
  }
  Handle(connection, std::move(*request), std::move(message->fds));
}

void Monitor::Handle(Connection& connection, Request request, std::vector<sys::UniqueFd> fds) {
  using Role = Connection::Role;
  if (request.type == RequestType::kExecKill && connection.role == Role::kExec) {
    for (auto& run : execs_) {
      if (run->connection == &connection) KillExec(*run);
    }
    return;
  }
  if (connection.role != Role::kNew) {
    connection.dead = true;  // one request a connection
    return;
  }
  connection.role = Role::kAnswered;
  switch (request.type) {
    case RequestType::kQuery:
      return Send(connection, {.state = CurrentState()});
    case RequestType::kWatch:
      connection.role = Role::kWatch;
      told_ = true;
      return Send(connection, {.state = CurrentState()});
    case RequestType::kStart:
      return HandleStart(connection);
    case RequestType::kSignal:
      return ReplyStatus(connection, HandleSignal(request));
    case RequestType::kReopenLog:
      return ReplyStatus(connection, log_ ? log_->Reopen() : FailedPrecondition("reopen log: no log yet"));
    case RequestType::kResize: {
      if (!terminal_.valid()) return ReplyStatus(connection, FailedPrecondition("resize: no terminal"));
      winsize size = {};
      size.ws_col = request.width;
      size.ws_row = request.height;
      bool ok = ::ioctl(terminal_.get(), TIOCSWINSZ, &size) == 0;
      return ReplyStatus(connection, ok ? Status() : ErrnoError(errno, "resize terminal"));
    }
    case RequestType::kExec:
      if (Status status = HandleExec(connection, std::move(request), std::move(fds)); !status.ok()) {
        ReplyStatus(connection, std::move(status));
      }
      return;
    case RequestType::kAttach:
      return ReplyStatus(connection, HandleAttach(connection, request, std::move(fds)));
    case RequestType::kDestroy:
      connection.role = Role::kDestroy;
      destroying_ = true;
      return;
    case RequestType::kExecKill:
      return ReplyStatus(connection, FailedPrecondition("kill exec: no exec here"));
  }
}

void Monitor::HandleStart(Connection& connection) {
  switch (phase_) {
    case Phase::kRunning:
      return Send(connection, {.state = CurrentState()});
    case Phase::kCreating:
      return ReplyStatus(connection, FailedPrecondition("start: not created yet"));
    case Phase::kExited:
      return ReplyStatus(connection, FailedPrecondition("start: the container has ended"));
    case Phase::kCreated:
      break;
  }
  if (exit_ || destroying_) return ReplyStatus(connection, FailedPrecondition("start: the container has ended"));
  if (start_pid_ == 0) {
    if (Status status = StartStart(); !status.ok()) {
      started_at_ = 0;
      return ReplyStatus(connection, std::move(status));
    }
  }
  connection.role = Connection::Role::kStart;
}

Status Monitor::HandleSignal(const Request& request) {
  if (request.signal < 1 || request.signal > 64) return InvalidArgument("signal: no such number");
  if (init_ == 0 || init_reaped_) return FailedPrecondition("signal: the container is not running");
  RETURN_IF_ERROR(init_fd_.Signal(request.signal));
  size_t slash = options_.oom_file.rfind('/');
  if (request.all && slash != std::string::npos) {
    SignalListed(options_.oom_file.substr(0, slash) + "/cgroup.procs", request.signal, init_);
  }
  return {};
}

Status Monitor::HandleAttach(Connection& connection, const Request& request, std::vector<sys::UniqueFd> fds) {
  if (exit_ || phase_ == Phase::kExited || phase_ == Phase::kCreating) {
    return FailedPrecondition("attach: the container is not running");
  }
  const AttachOptions& wanted = request.attach;
  if (wanted.stdin_fd >= 0 && !options_.open_stdin) return FailedPrecondition("attach: the container has no stdin");
  size_t next = 0;
  auto take = [&](int want) -> Result<sys::UniqueFd> {
    if (want < 0) return sys::UniqueFd();
    if (next >= fds.size()) return InvalidArgument("attach: a descriptor is missing");
    RETURN_IF_ERROR(sys::SetNonBlocking(fds[next].get(), true));
    return std::move(fds[next++]);
  };
  ASSIGN_OR_RETURN(sys::UniqueFd in, take(wanted.stdin_fd));
  ASSIGN_OR_RETURN(sys::UniqueFd out, take(wanted.stdout_fd));
  ASSIGN_OR_RETURN(sys::UniqueFd err, take(wanted.stderr_fd));
  connection.attach = std::make_unique<AttachPeer>(poller_, stdin_, scratch_, options_.stdin_once);
  if (in.valid()) connection.attach->SetStdin(std::move(in));
  if (out.valid()) connection.attach->SetSink(Stream::kStdout, std::move(out));
  if (err.valid()) connection.attach->SetSink(Stream::kStderr, std::move(err));
  connection.role = Connection::Role::kAttach;
  return {};
}

void Monitor::Send(Connection& connection, const Reply& reply, int fd) {
  std::vector<int> fds;
  if (fd >= 0) fds.push_back(fd);
  // Non-blocking: a watcher whose buffer is full has stopped reading and is dropped.
  if (!sys::SendWithFds(connection.watch.fd(), EncodeReply(reply), fds).ok()) connection.dead = true;
}

void Monitor::ReplyStatus(Connection& connection, Status status) {
  Send(connection, {.status = std::move(status), .state = CurrentState()});
}

void Monitor::Publish() {
  Reply reply{.state = CurrentState()};
  for (auto& connection : connections_) {
    if (connection->role == Connection::Role::kWatch && !connection->dead) Send(*connection, reply);
  }
}

void Monitor::Sweep() {
  for (auto& connection : connections_) {
    if (!connection->dead) continue;
    for (auto& run : execs_) {
      if (run->connection != connection.get()) continue;
      run->connection = nullptr;
      KillExec(*run);  // nobody is left who could want its result
    }
  }
  std::erase_if(connections_, [](const auto& connection) { return connection->dead; });
  std::erase_if(execs_, [](const auto& run) { return run->ended; });
}

}  // namespace davit::monitor
