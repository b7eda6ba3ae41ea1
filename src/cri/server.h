// Server: CRI v1's RuntimeService and ImageService and davit.control.v1 on one unix socket.
//
// Threads: gRPC's callback threads only convert and hand over; nothing blocks there. gRPC 1.51 caps them
// at 16 and its sync server can refuse calls under load, hence the callback API.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "base/result.h"
#include "engine/engine.h"

namespace davit::cri {

class Server {
 public:
  // Listens at `socket_path` (mode 0660), replacing a dead socket. `engine` outlives the server.
  static Result<std::unique_ptr<Server>> Start(engine::Engine& engine, const std::string& socket_path);
  // Waits for the calls that are running: see Shutdown.
  ~Server();

  // Calls by method and code, for Prometheus. Any thread.
  void WriteMetrics(MetricsText& out) const;

  // Refuses new calls and cancels the running ones' transport after `patience`. The verbs behind them
  // end by themselves.
  void Shutdown(std::chrono::milliseconds patience);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::cri
