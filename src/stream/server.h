// Server: exec, attach and port-forward for kubectl, crictl and the kubelet's proxy, over SPDY/3.1 and
// WebSocket (docs/formats/streaming.md).
//
// An RPC mints a ticket and hands out its URL; whoever presents the URL within a minute gets exactly the
// session that the RPC described, once. The URL carries 160 random bits and no data.
//
// Threads: one io thread runs every session, and a few workers, started on demand, call the backend. Every
// session holds a bounded set of resources (a socket, the process's descriptors, one buffer a stream)
// and frees them when either side goes away.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"
#include "stream/backend.h"

namespace davit::stream {

struct ServerOptions {
  std::string address = "127.0.0.1";  // numeric IPv4 or IPv6; anything but loopback is refused (no TLS yet)
  int port = 0;                       // 0: any free one

  std::chrono::milliseconds idle_timeout = std::chrono::hours(4);          // no byte either way
  std::chrono::milliseconds header_timeout = std::chrono::seconds(10);     // for the whole request head
  std::chrono::milliseconds stream_timeout = std::chrono::seconds(30);     // until every stream is there
  std::chrono::milliseconds close_timeout = std::chrono::seconds(5);       // for the client to hang up at the end
  std::chrono::milliseconds drain_quiet = std::chrono::milliseconds(100);  // after exit: silence that ends output
  std::chrono::milliseconds drain_limit = std::chrono::seconds(2);  // after exit: output ends even without silence
  std::chrono::seconds ticket_lifetime = std::chrono::seconds(60);

  size_t max_sessions = 1024;  // connections, from accept to close
  size_t max_waiting = 128;    // of them: without a ticket; the oldest makes room for the next
  size_t max_pending_tickets = 1000;
  size_t max_pending_per_target = 200;  // of one container or pod
  size_t max_header_bytes = 64 * 1024;
  size_t stream_buffer_bytes = 256 * 1024;  // towards a process or port that does not read, and per client
  size_t max_port_pairs = 256;              // open connections of one port-forward session
  size_t worker_threads = 8;
};

class Server {
 public:
  // Binds and listens. kInvalidArgument: the address is not numeric loopback; kAlreadyExists: the port is
  // taken. `backend` outlives the server.
  static Result<std::unique_ptr<Server>> Start(const ServerOptions& options, Backend& backend);
  ~Server();  // Stop()

  // Any thread. The URL for the client: "http://127.0.0.1:PORT/exec/TOKEN". kResourceExhausted when
  // max_pending_tickets wait; kInvalidArgument when the request asks for no stream, or for stderr with a
  // terminal; kUnavailable after Stop.
  Result<std::string> MintExec(ExecRequest request);
  Result<std::string> MintAttach(AttachRequest request);
  Result<std::string> MintPortForward(PortForwardRequest request);

  [[nodiscard]] int port() const;

  // Sessions open now: for metrics. Any thread.
  [[nodiscard]] size_t sessions() const;

  // Ends every session (processes of execs are killed), closes the listener, joins the threads. Idempotent;
  // not to be called on the server's own threads.
  void Stop();

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::stream
