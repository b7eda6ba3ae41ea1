// Server: CRI v1's RuntimeService and ImageService and davit.control.v1, for connections that others accept.
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
  // `engine` outlives the server.
  static Result<std::unique_ptr<Server>> Start(engine::Engine& engine);
  // Any thread. Takes the descriptor of a connected, non-blocking stream socket; closes it after Shutdown.
  void Adopt(int connection);
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
