// WebSocket framing (RFC 6455), without input or output. Both roles, so that tests can speak as a client.
//
// Payload is handed on as it arrives: a message has no size limit because none is ever collected. Control
// frames (at most 125 bytes) are collected.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::http {

// The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2).
std::string WebSocketAccept(std::string_view key);
// True for the base64 form of 16 bytes.
bool IsWebSocketKey(std::string_view key);

enum class WebSocketOpcode : uint8_t { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

class WebSocketVisitor {
 public:
  virtual ~WebSocketVisitor() = default;
  // A piece of a message; `first` and `last` mark its ends, and a piece may be empty.
  virtual void OnMessagePiece(bool text, std::string_view bytes, bool first, bool last) = 0;
  virtual void OnPingFrame(std::string_view payload) = 0;
  // 1005 when the frame has no code. After this nothing more is decoded.
  virtual void OnCloseFrame(uint16_t code) = 0;
};

class WebSocketDecoder {
 public:
  // `visitor` outlives this. A server requires masked frames and a client unmasked ones.
  WebSocketDecoder(WebSocketVisitor& visitor, bool server) : visitor_(visitor), server_(server) {}

  // Any cut of the byte stream. kInvalidArgument when the peer breaks the protocol: close with 1002.
  Status Decode(std::string_view bytes);

 private:
  Status ParseHead();
  Status Payload(std::string_view bytes);
  void EndFrame();

  WebSocketVisitor& visitor_;
  const bool server_;
  std::string head_;     // of the frame, as far as it is here
  std::string control_;  // payload of a control frame
  bool in_frame_ = false;
  bool in_message_ = false;  // a message has begun and not ended
  bool text_ = false;        // of that message
  bool first_ = false;       // the next piece is the message's first
  bool closed_ = false;
  uint8_t opcode_ = 0;
  bool fin_ = false;
  std::array<uint8_t, 4> mask_{};
  size_t mask_at_ = 0;
  uint64_t left_ = 0;
};

// One whole frame with FIN. `mask` (four bytes) for a client, empty for a server.
std::string WebSocketFrame(WebSocketOpcode opcode, std::string_view payload, std::string_view mask = {});
// Only what precedes a server's unmasked payload.
std::string WebSocketFrameHead(WebSocketOpcode opcode, uint64_t size);

}  // namespace davit::http
