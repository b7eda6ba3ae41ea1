#include "stream/server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <future>
#include <set>
#include <unordered_map>

#include "base/log.h"
#include "stream/session.h"

namespace davit::stream {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  bool v6 = false;
};

Result<Address> ParseAddress(const std::string& text, int port) {
  Address address;
  if (port < 0 || port > 65535) return InvalidArgument(fmt::format("stream server port {} is not a port", port));
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    if ((ntohl(v4->sin_addr.s_addr) >> 24) != 127) {
      return InvalidArgument("stream server address " + text + " is not loopback, and there is no TLS");
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof(sockaddr_in);
    return address;
  }
  if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    if (!IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) {
      return InvalidArgument("stream server address " + text + " is not loopback, and there is no TLS");
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof(sockaddr_in6);
    address.v6 = true;
    return address;
  }
  return InvalidArgument("stream server address \"" + text + "\" is not a numeric address");
}

Result<sys::UniqueFd> Listen(const Address& address, const std::string& name) {
  sys::UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoError(errno, "stream server socket");
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    if (errno == EADDRINUSE) return AlreadyExists("stream server: " + name + " is in use");
    return ErrnoError(errno, "stream server: bind " + name);
  }
  if (::listen(fd.get(), SOMAXCONN) != 0) return ErrnoError(errno, "stream server: listen on " + name);
  return fd;
}

Status CheckStreams(bool terminal, bool want_stdin, bool want_stdout, bool want_stderr) {
  if (!want_stdin && !want_stdout && !want_stderr) {
    return InvalidArgument("one of stdin, stdout and stderr must be asked for");
  }
  if (terminal && want_stderr) return InvalidArgument("stderr cannot be asked for together with a terminal");
  return {};
}

}  // namespace

struct Server::State {
  State(const ServerOptions& options, Backend& backend)
      : tickets(options.max_pending_tickets, options.max_pending_per_target, options.ticket_lifetime) {
    context.options = options;
    context.backend = &backend;
    context.tickets = &tickets;
  }

  void Accept();
  void WatchListener();
  void CloseSessions();

  Tickets tickets;
  SessionContext context;
  std::string base_url;
  int port = 0;
  std::atomic<size_t> session_count = 0;
  std::atomic<bool> stopped = false;

  // Of the io thread:
  sys::UniqueFd listener;
  sched::EventLoop::Token listener_watch = 0;
  sched::EventLoop::Token retry_timer = 0;
  uint64_t next_session = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Session>> sessions;
  std::set<uint64_t> waiting;  // of them: those without a ticket, oldest first

  std::unique_ptr<sched::EventLoop> loop;
  std::unique_ptr<sched::ThreadPool> pool;  // before the loop goes: its tasks post to it
};

void Server::State::WatchListener() {
  auto watch = loop->Watch(listener.get(), EPOLLIN, [this](uint32_t) { Accept(); });
  if (watch.ok()) {
    listener_watch = *watch;
  } else {
    LogError("stream server: {}", watch.status().message());
  }
}

void Server::State::Accept() {
  constexpr int kMaxAtOnce = 32;  // other sessions get their turn
  for (int i = 0; i < kMaxAtOnce; ++i) {
    sys::UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      // Out of descriptors or memory: the listener stays readable, so look again later.
      LogWarning("stream server: {}", ErrnoError(errno, "accept").message());
      loop->Remove(listener_watch);
      listener_watch = 0;
      retry_timer = loop->After(std::chrono::milliseconds(200), [this] { WatchListener(); });
      return;
    }
    // Whoever has shown no ticket makes room for the next: an honest client shows it at once, and nobody can keep the
    // port shut by holding connections.
    if (waiting.size() >= context.options.max_waiting) {
      auto oldest = sessions.find(*waiting.begin());
      oldest->second->Close(ResourceExhausted("a newer client takes the place of one without a ticket"));
    }
    if (sessions.size() >= context.options.max_sessions) {
      std::string answer = http::ErrorResponse(503, "too many sessions");
      // Best effort: a fresh socket's buffer takes it whole.
      [[maybe_unused]] ssize_t n = ::send(fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      continue;
    }
    uint64_t id = next_session++;
    auto session = std::make_shared<Session>(
        context, [this, id] { waiting.erase(id); },
        [this, id] {
          waiting.erase(id);
          sessions.erase(id);
          session_count = sessions.size();
        });
    sessions.emplace(id, session);
    waiting.insert(id);
    session_count = sessions.size();
    session->Begin(std::move(fd));
  }
}

void Server::State::CloseSessions() {
  if (listener_watch != 0) loop->Remove(listener_watch);
  if (retry_timer != 0) loop->Remove(retry_timer);
  listener_watch = 0;
  retry_timer = 0;
  listener.reset();
  auto closing = sessions;  // each takes itself out
  for (auto& [id, session] : closing) session->Close(Unavailable("the server stops"));
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Backend& backend) {
  ASSIGN_OR_RETURN(Address address, ParseAddress(options.address, options.port));
  auto state = std::make_unique<State>(options, backend);
  ASSIGN_OR_RETURN(state->listener, Listen(address, fmt::format("{} port {}", options.address, options.port)));
  Address bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(state->listener.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0) {
    return ErrnoError(errno, "stream server: getsockname");
  }
  state->port = ntohs(address.v6 ? reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port
                                 : reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port);
  state->base_url =
      fmt::format("http://{}:{}/", address.v6 ? "[" + options.address + "]" : options.address, state->port);
  ASSIGN_OR_RETURN(state->loop, sched::EventLoop::Start("stream-io"));
  state->pool = std::make_unique<sched::ThreadPool>("stream-work", options.worker_threads);
  state->context.loop = state->loop.get();
  state->context.pool = state->pool.get();
  state->loop->Post([raw = state.get()] {
    // Writing to a pipe whose reader is gone must be an error, not the daemon's end.
    sigset_t pipe;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    raw->WatchListener();
  });
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::~Server() { Stop(); }

void Server::Stop() {
  if (state_->stopped.exchange(true)) return;
  std::promise<void> closed;
  state_->loop->Post([&] {
    state_->CloseSessions();
    closed.set_value();
  });
  closed.get_future().wait();
  // First the workers, which may still be opening something, then the loop that they report to.
  state_->pool.reset();
  state_->loop.reset();
}

Result<std::string> Server::MintExec(ExecRequest request) {
  if (state_->stopped) return Unavailable("mint exec ticket: the stream server has stopped");
  RETURN_IF_ERROR(CheckStreams(request.terminal, request.want_stdin, request.want_stdout, request.want_stderr));
  ASSIGN_OR_RETURN(std::string token, state_->tickets.Mint(std::move(request)));
  return state_->base_url + "exec/" + token;
}

Result<std::string> Server::MintAttach(AttachRequest request) {
  if (state_->stopped) return Unavailable("mint attach ticket: the stream server has stopped");
  RETURN_IF_ERROR(CheckStreams(request.terminal, request.want_stdin, request.want_stdout, request.want_stderr));
  ASSIGN_OR_RETURN(std::string token, state_->tickets.Mint(std::move(request)));
  return state_->base_url + "attach/" + token;
}

Result<std::string> Server::MintPortForward(PortForwardRequest request) {
  if (state_->stopped) return Unavailable("mint port-forward ticket: the stream server has stopped");
  for (int port : request.ports) {
    if (port < 1 || port > 65535) return InvalidArgument(fmt::format("port {} is not a port", port));
  }
  ASSIGN_OR_RETURN(std::string token, state_->tickets.Mint(std::move(request)));
  return state_->base_url + "portforward/" + token;
}

int Server::port() const { return state_->port; }
size_t Server::sessions() const { return state_->session_count; }

}  // namespace davit::stream
