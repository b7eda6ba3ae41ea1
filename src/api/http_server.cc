#include "api/http_server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <unordered_set>

#include "base/log.h"

namespace davit::api {
namespace {

constexpr std::chrono::seconds kSweepEvery{5};

}  // namespace

struct HttpServer::State {
  explicit State(sched::EventLoop& event_loop) : loop(event_loop) {}
  void Accept(int listener);
  void Sweep();

  sched::EventLoop& loop;
  std::shared_ptr<Connection::Owner> owner = std::make_shared<Connection::Owner>();
  size_t max_connections = 0;
  std::vector<sys::UniqueFd> listeners;
  std::vector<sched::EventLoop::Token> watches;
  std::atomic<size_t> count{0};

  // Of the loop's thread.
  std::unordered_set<std::shared_ptr<Connection>> connections;
  sys::UniqueFd reserve;  // closed to have a descriptor for a connection that is refused
  sched::EventLoop::Token sweep = 0;
  bool stopping = false;
};

void HttpServer::State::Accept(int listener) {
  for (;;) {
    sys::UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE) {
        reserve.reset();
        sys::UniqueFd refused(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        bool more = refused.valid();
        refused.reset();
        reserve.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        LogWarning("a connection was refused: no descriptors are left");
        if (more) continue;
      }
      return;
    }
    if (connections.size() >= max_connections) {
      LogWarning("a connection was refused: there are {} already", connections.size());
      continue;
    }
    auto connection = std::make_shared<Connection>(owner, std::move(fd));
    if (Status status = connection->Start(); !status.ok()) {
      LogWarning("a connection was refused: {}", status.message());
      continue;
    }
    connections.insert(connection);
    count = connections.size();
    if (sweep == 0) sweep = loop.After(kSweepEvery, [this] { Sweep(); });
  }
}

void HttpServer::State::Sweep() {
  sweep = 0;
  std::vector<std::shared_ptr<Connection>> all(connections.begin(), connections.end());
  for (const auto& connection : all) connection->Sweep(Connection::Clock::now());
  // An idle server does not wake up.
  if (!connections.empty() && !stopping) sweep = loop.After(kSweepEvery, [this] { Sweep(); });
}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(sched::EventLoop& loop, std::vector<sys::UniqueFd> listeners,
                                                      const HttpServerOptions& options, Planner planner) {
  auto state = std::make_shared<State>(loop);
  state->max_connections = options.max_connections;
  state->owner->loop = &loop;
  state->owner->max_body = options.max_body;
  state->owner->plan = std::move(planner);
  state->owner->gone = [raw = state.get()](const std::shared_ptr<Connection>& connection) {
    raw->connections.erase(connection);
    raw->count = raw->connections.size();
  };
  state->reserve.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  state->listeners = std::move(listeners);
  std::unique_ptr<HttpServer> server(new HttpServer(state));
  for (const sys::UniqueFd& listener : state->listeners) {
    RETURN_IF_ERROR(sys::SetNonBlocking(listener.get(), true));
    ASSIGN_OR_RETURN(
        sched::EventLoop::Token token,
        loop.Watch(listener.get(), EPOLLIN, [raw = state.get(), fd = listener.get()](uint32_t) { raw->Accept(fd); }));
    state->watches.push_back(token);
  }
  return server;
}

HttpServer::~HttpServer() {
  for (sched::EventLoop::Token token : state_->watches) state_->loop.Remove(token);
  std::promise<void> done;
  state_->loop.Post([this, &done] {
    state_->stopping = true;
    if (state_->sweep != 0) state_->loop.Remove(state_->sweep);
    std::vector<std::shared_ptr<Connection>> all(state_->connections.begin(), state_->connections.end());
    for (const auto& connection : all) connection->Drop();
    done.set_value();
  });
  done.get_future().wait();
}

size_t HttpServer::connections() const { return state_->count; }

}  // namespace davit::api
