#include "http/text_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <future>
#include <unordered_map>

#include "base/log.h"
#include "base/strings.h"
#include "http/request_head.h"
#include "sched/event_loop.h"
#include "sys/unique_fd.h"

namespace davit::http {
namespace {

constexpr std::string_view kUnixPrefix = "unix://";

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  std::string path;  // of a unix socket
};

Result<Address> ParseAddress(const std::string& text) {
  Address address;
  if (text.starts_with(kUnixPrefix)) {
    address.path = text.substr(kUnixPrefix.size());
    auto* local = reinterpret_cast<sockaddr_un*>(&address.storage);
    if (address.path.empty() || address.path.size() >= sizeof local->sun_path) {
      return InvalidArgument("metrics address \"" + Printable(text) + "\": the path is empty or too long");
    }
    local->sun_family = AF_UNIX;
    std::memcpy(local->sun_path, address.path.data(), address.path.size());
    address.size = sizeof(sockaddr_un);
    return address;
  }
  size_t colon = text.rfind(':');
  std::optional<uint64_t> port = ParseUint64(colon == std::string::npos ? "" : text.substr(colon + 1));
  std::string host = text.substr(0, colon);
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (port && *port <= 65535) {
    if (host.size() > 2 && host.front() == '[' && host.back() == ']' &&
        ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(static_cast<uint16_t>(*port));
      address.size = sizeof *v6;
      return address;
    }
    if (::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET;
      v4->sin_port = htons(static_cast<uint16_t>(*port));
      address.size = sizeof *v4;
      return address;
    }
  }
  return InvalidArgument("metrics address \"" + Printable(text) + "\" is neither IP:PORT nor unix:///PATH");
}

// A socket that nobody listens on any more is in the way of ours.
Status RemoveDeadSocket(const Address& address) {
  struct stat info {};
  if (::lstat(address.path.c_str(), &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode)) return AlreadyExists(address.path + " is there and no socket");
  sys::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0) {
    return AlreadyExists("somebody listens on " + address.path);
  }
  if (errno != ECONNREFUSED) return ErrnoError(errno, "look at " + address.path);
  ::unlink(address.path.c_str());
  return {};
}

Result<sys::UniqueFd> Listen(const Address& address, const std::string& name, unsigned mode) {
  if (!address.path.empty()) RETURN_IF_ERROR(RemoveDeadSocket(address));
  sys::UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoError(errno, "metrics socket");
  int on = 1;
  if (address.path.empty()) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    if (errno == EADDRINUSE) return AlreadyExists("metrics address " + name + " is in use");
    return ErrnoError(errno, "bind " + name);
  }
  if (!address.path.empty() && ::chmod(address.path.c_str(), mode) != 0) return ErrnoError(errno, "chmod " + name);
  if (::listen(fd.get(), 64) != 0) return ErrnoError(errno, "listen on " + name);
  return fd;
}

// What the kernel chose for port 0.
std::string BoundName(int fd, const Address& address, const std::string& asked) {
  if (!address.path.empty()) return asked;
  Address bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0) return asked;
  bool v6 = bound.storage.ss_family == AF_INET6;
  uint16_t port = v6 ? reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port
                     : reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port;
  return asked.substr(0, asked.rfind(':')) + ":" + std::to_string(ntohs(port));
}

struct Connection {
  sys::UniqueFd fd;
  sched::EventLoop::Token watch = 0;
  sched::EventLoop::Token timer = 0;
  std::string input;
  std::string output;
  size_t sent = 0;
};

}  // namespace

// Everything but the options belongs to the loop's thread.
struct TextServer::State {
  TextServerOptions options;
  Handler handler;
  std::string name;
  std::string unix_path;
  dev_t device = 0;  // of the unix socket, which is removed only while it is ours
  ino_t inode = 0;
  sys::UniqueFd listener;
  sched::EventLoop::Token listener_watch = 0;
  uint64_t next_id = 1;
  std::unordered_map<uint64_t, Connection> connections;
  std::unique_ptr<sched::EventLoop> loop;

  void WatchListener();
  void Accept();
  void Close(uint64_t id);
  void OnEvent(uint64_t id);
  void Write(uint64_t id, Connection& connection);
  // nullopt: more is to come.
  std::optional<std::string> Answer(const std::string& input);
};

void TextServer::State::WatchListener() {
  Result<sched::EventLoop::Token> watch = loop->Watch(listener.get(), EPOLLIN, [this](uint32_t) { Accept(); });
  if (watch.ok()) {
    listener_watch = *watch;
  } else {
    LogError("metrics server: {}", watch.status().message());
  }
}

void TextServer::State::Accept() {
  constexpr int kMaxAtOnce = 32;
  for (int i = 0; i < kMaxAtOnce; ++i) {
    sys::UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      // Out of descriptors or memory: the listener stays readable, so look again later.
      loop->Remove(listener_watch);
      listener_watch = 0;
      loop->After(std::chrono::milliseconds(200), [this] { WatchListener(); });
      return;
    }
    if (connections.size() >= options.max_connections) {
      std::string busy = ErrorResponse(503, "too many connections");
      [[maybe_unused]] ssize_t n = ::send(fd.get(), busy.data(), busy.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      continue;
    }
    uint64_t id = next_id++;
    Result<sched::EventLoop::Token> watch = loop->Watch(fd.get(), EPOLLIN, [this, id](uint32_t) { OnEvent(id); });
    if (!watch.ok()) continue;
    Connection& connection = connections[id];
    connection.fd = std::move(fd);
    connection.watch = *watch;
    connection.timer = loop->After(options.timeout, [this, id] { Close(id); });
  }
}

void TextServer::State::Close(uint64_t id) {
  auto found = connections.find(id);
  if (found == connections.end()) return;
  loop->Remove(found->second.watch);
  loop->Remove(found->second.timer);
  connections.erase(found);
}

std::optional<std::string> TextServer::State::Answer(const std::string& input) {
  Result<std::optional<RequestHead>> head = ParseRequestHead(input, options.max_header_bytes);
  if (!head.ok()) {
    return ErrorResponse(head.code() == StatusCode::kResourceExhausted ? 431 : 400, head.status().message());
  }
  if (!*head) return std::nullopt;
  const RequestHead& request = **head;
  if (request.method != "GET" && request.method != "HEAD") {
    return ErrorResponse(405, "only GET", "Allow: GET, HEAD\r\n");
  }
  std::optional<TextAnswer> answer = handler(request.path);
  if (!answer) return ErrorResponse(404, options.not_found);
  std::string text = fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: "
      "close\r\n\r\n",
      answer->content_type, answer->body.size());
  if (request.method == "GET") text += answer->body;
  return text;
}

void TextServer::State::OnEvent(uint64_t id) {
  auto found = connections.find(id);
  if (found == connections.end()) return;
  Connection& connection = found->second;
  if (!connection.output.empty()) {
    Write(id, connection);
    return;
  }
  std::array<char, 4096> buffer;
  ssize_t n = ::recv(connection.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    Close(id);
    return;
  }
  connection.input.append(buffer.data(), static_cast<size_t>(n));
  std::optional<std::string> output = Answer(connection.input);
  if (!output) return;
  connection.output = std::move(*output);
  connection.input.clear();
  Write(id, connection);
}

void TextServer::State::Write(uint64_t id, Connection& connection) {
  while (connection.sent < connection.output.size()) {
    ssize_t n = ::send(connection.fd.get(), connection.output.data() + connection.sent,
                       connection.output.size() - connection.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      // Level triggered: from now on it is writing that we wait for.
      loop->Remove(connection.watch);
      Result<sched::EventLoop::Token> watch =
          loop->Watch(connection.fd.get(), EPOLLOUT, [this, id](uint32_t) { OnEvent(id); });
      if (watch.ok()) {
        connection.watch = *watch;
        return;
      }
      n = -1;
    }
    if (n < 0) break;
    connection.sent += static_cast<size_t>(n);
  }
  // What a client has sent too much would make close(2) a reset, which can take the answer with it.
  ::shutdown(connection.fd.get(), SHUT_WR);
  std::array<char, 4096> rest;
  while (::recv(connection.fd.get(), rest.data(), rest.size(), MSG_DONTWAIT) > 0) {
  }
  Close(id);
}

TextServer::TextServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<TextServer>> TextServer::Start(const TextServerOptions& options, Handler handler) {
  ASSIGN_OR_RETURN(Address address, ParseAddress(options.address));
  auto state = std::make_unique<State>();
  state->options = options;
  state->handler = std::move(handler);
  state->unix_path = address.path;
  ASSIGN_OR_RETURN(state->listener, Listen(address, options.address, options.mode));
  state->name = BoundName(state->listener.get(), address, options.address);
  if (struct stat info{}; !address.path.empty() && ::lstat(address.path.c_str(), &info) == 0) {
    state->device = info.st_dev;
    state->inode = info.st_ino;
  }
  ASSIGN_OR_RETURN(state->loop, sched::EventLoop::Start("davit-metrics"));
  State* raw = state.get();
  state->loop->Post([raw] { raw->WatchListener(); });
  return std::unique_ptr<TextServer>(new TextServer(std::move(state)));
}

TextServer::~TextServer() {
  std::promise<void> closed;
  state_->loop->Post([&] {
    if (state_->listener_watch != 0) state_->loop->Remove(state_->listener_watch);
    while (!state_->connections.empty()) state_->Close(state_->connections.begin()->first);
    closed.set_value();
  });
  closed.get_future().wait();
  state_->loop.reset();
  struct stat info {};
  if (state_->inode != 0 && ::lstat(state_->unix_path.c_str(), &info) == 0 && info.st_dev == state_->device &&
      info.st_ino == state_->inode) {
    ::unlink(state_->unix_path.c_str());
  }
}

const std::string& TextServer::address() const { return state_->name; }

}  // namespace davit::http
