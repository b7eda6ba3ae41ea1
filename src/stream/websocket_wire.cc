#include "stream/websocket_wire.h"

#include "http/base64.h"

namespace davit::stream {
namespace {

using http::WebSocketOpcode;

constexpr uint8_t kCloseChannel = 255;
constexpr uint16_t kNormalClosure = 1000;
constexpr uint16_t kProtocolError = 1002;

std::string BigEndian(uint16_t value) { return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)}; }

}  // namespace

WebSocketWire::WebSocketWire(ByteSink out) : out_(std::move(out)), decoder_(*this, /*server=*/true) {}

Status WebSocketWire::Input(std::string_view bytes) {
  Status status = error_;
  if (status.ok()) status = decoder_.Decode(bytes);
  if (status.ok()) status = error_;
  if (!status.ok()) SendClose(kProtocolError);
  return status;
}

void WebSocketWire::SendMessage(WebSocketOpcode opcode, std::string_view first, std::string_view rest) {
  if (close_sent_) return;
  std::string frame = http::WebSocketFrameHead(opcode, first.size() + rest.size());
  frame += first;
  frame += rest;
  out_(frame);
}

void WebSocketWire::SendClose(uint16_t code) {
  SendMessage(WebSocketOpcode::kClose, BigEndian(code), {});
  close_sent_ = true;
}

void WebSocketWire::OnPingFrame(std::string_view payload) { SendMessage(WebSocketOpcode::kPong, payload, {}); }

void WebSocketWire::OnCloseFrame(uint16_t) {
  close_received_ = true;
  SendClose(kNormalClosure);
}

ChannelWire::ChannelWire(WireEvents& events, ByteSink out, ChannelOptions options)
    : WebSocketWire(std::move(out)), events_(events), options_(std::move(options)), ended_(options_.channels.size()) {}

void ChannelWire::Start() {
  for (uint32_t i = 0; i < options_.greetings.size(); ++i) Send(i, options_.greetings[i]);
  if (options_.greetings.empty()) {
    // An empty message on the first output channel tells the client that the session is up; so do the
    // servers that clients were written against.
    for (uint32_t i = 1; i < options_.channels.size(); ++i) {
      if (options_.channels[i].type.empty()) continue;
      Send(i, {});
      break;
    }
  }
  for (uint32_t i = 0; i < options_.channels.size(); ++i) {
    if (!options_.channels[i].type.empty()) events_.OnStream(i, options_.channels[i]);
  }
}

void ChannelWire::Send(uint32_t id, std::string_view bytes) {
  if (options_.base64) {
    std::string digit(1, static_cast<char>('0' + id));
    SendMessage(WebSocketOpcode::kText, digit, http::Base64Encode(bytes));
  } else {
    std::string number(1, static_cast<char>(id));
    SendMessage(WebSocketOpcode::kBinary, number, bytes);
  }
}

void ChannelWire::Finish(bool) { SendClose(kNormalClosure); }

void ChannelWire::OnMessagePiece(bool, std::string_view bytes, bool first, bool last) {
  if (first) {
    channel_.reset();
    partial_.clear();
  }
  if (!channel_ && !bytes.empty()) {
    auto byte = static_cast<uint8_t>(bytes.front());
    channel_ = options_.base64 ? static_cast<uint8_t>(byte - '0') : byte;
    bytes.remove_prefix(1);
  }
  if (!channel_) return;  // an empty message
  if (options_.half_close && *channel_ == kCloseChannel) {
    if (partial_.size() < 2) partial_ += bytes.substr(0, 2);  // one more than there may be, in however many pieces
    if (!last) return;
    if (partial_.size() != 1) {
      error_ = InvalidArgument("close message does not name one channel");
      return;
    }
    EndChannel(static_cast<uint8_t>(partial_[0]));
    return;
  }
  // As Kubernetes' servers do: data for a channel that is not there is dropped.
  if (*channel_ >= ended_.size() || options_.channels[*channel_].type.empty() || ended_[*channel_]) return;
  Deliver(bytes, last);
}

void ChannelWire::Deliver(std::string_view bytes, bool last) {
  if (!options_.base64) {
    if (!bytes.empty()) events_.OnData(*channel_, bytes);
    return;
  }
  // Padding may only come at the message's end, so whole groups before it decode on their own.
  partial_ += bytes;
  size_t whole = last ? partial_.size() : partial_.size() / 4 * 4;
  if (!last && whole == partial_.size() && whole >= 4) whole -= 4;
  auto decoded = http::Base64Decode(std::string_view(partial_).substr(0, whole));
  partial_.erase(0, whole);
  if (!decoded) {
    error_ = InvalidArgument("WebSocket message is not base64");
    return;
  }
  if (!decoded->empty()) events_.OnData(*channel_, *decoded);
}

void ChannelWire::EndChannel(uint32_t channel) {
  if (channel >= ended_.size() || options_.channels[channel].type.empty() || ended_[channel]) return;
  ended_[channel] = true;
  events_.OnEnd(channel);
}

TunnelWire::TunnelWire(WireEvents& events, ByteSink out, size_t max_streams)
    : WebSocketWire(std::move(out)),
      spdy_(
          events, [this](std::string_view bytes) { SendMessage(WebSocketOpcode::kBinary, bytes, {}); }, max_streams) {}

void TunnelWire::Finish(bool hang_up) {
  spdy_.Finish(hang_up);
  if (hang_up) SendClose(kNormalClosure);
}

void TunnelWire::OnMessagePiece(bool text, std::string_view bytes, bool, bool) {
  if (!error_.ok()) return;
  if (text) {
    error_ = InvalidArgument("text message in a SPDY tunnel");
    return;
  }
  error_ = spdy_.Input(bytes);
}

}  // namespace davit::stream
