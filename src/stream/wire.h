// Wire: numbered streams over one client connection, whatever the framing: SPDY/3.1, the channels of a
// WebSocket, or SPDY inside a WebSocket. A Program (an exec, a port-forward) sits on top and knows streams
// only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace davit::stream {

// What the client says about a stream when it opens it.
struct StreamInfo {
  std::string type;        // "error", "stdin", "stdout", "stderr", "resize", "data"
  std::string port;        // port-forward
  std::string request_id;  // port-forward; empty from clients of the first version
};

// The client's side of the streams. After OnEnd or OnReset nothing more comes for that stream.
class WireEvents {
 public:
  virtual ~WireEvents() = default;
  virtual void OnStream(uint32_t id, const StreamInfo& info) = 0;
  virtual void OnData(uint32_t id, std::string_view bytes) = 0;
  virtual void OnEnd(uint32_t id) = 0;    // half-closed: the client sends no more
  virtual void OnReset(uint32_t id) = 0;  // closed in both directions
};

class Wire {
 public:
  virtual ~Wire() = default;

  // Announces streams that exist from the start. Called once, before the first Input.
  virtual void Start() = 0;
  // Bytes from the connection. An error ends the session.
  virtual Status Input(std::string_view bytes) = 0;

  // Ignored for a stream that is not open.
  virtual void Send(uint32_t id, std::string_view bytes) = 0;
  virtual void End(uint32_t id) = 0;
  virtual void Reset(uint32_t id) = 0;
  // The program is done with `bytes` of what OnData gave: the client may send as much again.
  virtual void Consumed(uint32_t id, size_t bytes) = 0;

  // The program has sent its last byte. `hang_up` false: the client is to close first; true: it had its time.
  virtual void Finish(bool hang_up) = 0;
  // The peer has said goodbye; the connection may be closed.
  [[nodiscard]] virtual bool peer_done() const = 0;
};

// Where a wire's bytes go.
using ByteSink = std::function<void(std::string_view)>;

}  // namespace davit::stream
