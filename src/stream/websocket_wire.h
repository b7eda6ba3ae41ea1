// The two ways in which Kubernetes' clients use a WebSocket: numbered channels, and a tunnel for SPDY.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "http/websocket_frame.h"
#include "stream/spdy_wire.h"
#include "stream/wire.h"

namespace davit::stream {

// Ping, close and framing, common to both.
class WebSocketWire : public Wire, protected http::WebSocketVisitor {
 public:
  Status Input(std::string_view bytes) override;
  [[nodiscard]] bool peer_done() const override { return close_received_; }

 protected:
  explicit WebSocketWire(ByteSink out);
  void SendMessage(http::WebSocketOpcode opcode, std::string_view first, std::string_view rest);
  void SendClose(uint16_t code);
  Status error_;  // set by a subclass: ends the session

 private:
  void OnPingFrame(std::string_view payload) override;
  void OnCloseFrame(uint16_t code) override;

  ByteSink out_;
  http::WebSocketDecoder decoder_;
  bool close_sent_ = false;
  bool close_received_ = false;
};

struct ChannelOptions {
  // Index is the channel; a type of "" is not there. Stream ids are channel numbers.
  std::vector<StreamInfo> channels;
  bool base64 = false;      // text messages, a digit in front, base64 after it
  bool half_close = false;  // v5: message 255 <channel> ends a channel
  // Sent as the first message of each such channel (old port-forward: the port, little endian).
  std::vector<std::string> greetings;
};

class ChannelWire final : public WebSocketWire {
 public:
  ChannelWire(WireEvents& events, ByteSink out, ChannelOptions options);

  void Start() override;
  void Send(uint32_t id, std::string_view bytes) override;
  void End(uint32_t) override {}  // no such message towards the client: closing the connection ends all
  void Reset(uint32_t) override {}
  void Consumed(uint32_t, size_t) override {}  // no windows: TCP's back-pressure does it
  void Finish(bool hang_up) override;

 private:
  void OnMessagePiece(bool text, std::string_view bytes, bool first, bool last) override;
  void Deliver(std::string_view bytes, bool last);
  void EndChannel(uint32_t channel);

  WireEvents& events_;
  ChannelOptions options_;
  std::vector<bool> ended_;
  // Of the message that is arriving:
  std::optional<uint8_t> channel_;
  std::string partial_;  // base64 digits short of a group; or what follows 255
};

// "SPDY/3.1+portforward.k8s.io": a SPDY connection whose bytes are the payload of binary messages.
class TunnelWire final : public WebSocketWire {
 public:
  TunnelWire(WireEvents& events, ByteSink out, size_t max_streams);

  void Start() override { spdy_.Start(); }
  void Send(uint32_t id, std::string_view bytes) override { spdy_.Send(id, bytes); }
  void End(uint32_t id) override { spdy_.End(id); }
  void Reset(uint32_t id) override { spdy_.Reset(id); }
  void Consumed(uint32_t id, size_t bytes) override { spdy_.Consumed(id, bytes); }
  void Finish(bool hang_up) override;

 private:
  void OnMessagePiece(bool text, std::string_view bytes, bool first, bool last) override;
  SpdyWire spdy_;
};

}  // namespace davit::stream
