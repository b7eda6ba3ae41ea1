// HttpServer: accepts connections on unix sockets and gives each request to a handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/connection.h"
#include "base/result.h"
#include "sched/event_loop.h"
#include "sys/unique_fd.h"

namespace davit::api {

struct HttpServerOptions {
  size_t max_connections = 4096;
  size_t max_body = 8u << 20;  // of bodies that are read whole
};

class HttpServer {
 public:
  using Planner = std::function<Plan(const std::shared_ptr<Connection>&, http::RequestHead)>;

  // `planner` is called on the loop's thread, for each request. `loop` outlives this.
  static Result<std::unique_ptr<HttpServer>> Start(sched::EventLoop& loop, std::vector<sys::UniqueFd> listeners,
                                                   const HttpServerOptions& options, Planner planner);
  // Ends all connections. Not from a callback.
  ~HttpServer();

  [[nodiscard]] size_t connections() const;  // now

 private:
  struct State;
  explicit HttpServer(std::shared_ptr<State> state) : state_(std::move(state)) {}
  const std::shared_ptr<State> state_;
};

}  // namespace davit::api
