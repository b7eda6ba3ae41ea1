#include "http/websocket_frame.h"

#include <openssl/sha.h>

#include <algorithm>

#include "http/base64.h"

namespace davit::http {
namespace {

constexpr size_t kMaxControlPayload = 125;
constexpr size_t kUnmaskChunk = 16 * 1024;

bool IsControl(uint8_t opcode) { return (opcode & 0x8) != 0; }

}  // namespace

std::string WebSocketAccept(std::string_view key) {
  std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::string digest(SHA_DIGEST_LENGTH, '\0');
  ::SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return Base64Encode(digest);
}

bool IsWebSocketKey(std::string_view key) {
  auto bytes = Base64Decode(key);
  return bytes && bytes->size() == 16;
}

Status WebSocketDecoder::Decode(std::string_view bytes) {
  while (!closed_) {
    if (!in_frame_) {
      // The head is 2 to 14 bytes; its length is known byte by byte, and a byte at a time is simplest.
      if (bytes.empty()) return {};
      head_.push_back(bytes.front());
      bytes.remove_prefix(1);
      RETURN_IF_ERROR(ParseHead());
      if (!in_frame_ || left_ > 0) continue;
    }
    if (bytes.empty() && left_ > 0) return {};
    auto take = static_cast<size_t>(std::min<uint64_t>(left_, bytes.size()));
    take = std::min(take, kUnmaskChunk);
    left_ -= take;
    RETURN_IF_ERROR(Payload(bytes.substr(0, take)));
    bytes.remove_prefix(take);
    if (left_ == 0) EndFrame();
  }
  return {};
}

Status WebSocketDecoder::ParseHead() {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(head_[i]); };
  if (head_.size() < 2) return {};
  size_t length_bytes = (byte(1) & 0x7f) == 126 ? 2 : (byte(1) & 0x7f) == 127 ? 8 : 0;
  bool masked = (byte(1) & 0x80) != 0;
  if (head_.size() < 2 + length_bytes + (masked ? 4 : 0)) return {};

  if ((byte(0) & 0x70) != 0) return InvalidArgument("WebSocket frame with reserved bits");
  if (masked != server_) return InvalidArgument(server_ ? "WebSocket frame without a mask" : "masked WebSocket frame");
  fin_ = (byte(0) & 0x80) != 0;
  opcode_ = byte(0) & 0x0f;
  left_ = byte(1) & 0x7f;
  if (length_bytes > 0) {
    left_ = 0;
    for (size_t i = 2; i < 2 + length_bytes; ++i) left_ = (left_ << 8) | byte(i);
    if ((left_ >> 63) != 0) return InvalidArgument("WebSocket frame with a negative length");
  }
  if (masked) std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(2 + length_bytes), 4, mask_.begin());
  mask_at_ = 0;

  if (IsControl(opcode_)) {
    if (opcode_ > 10) return InvalidArgument("WebSocket opcode " + std::to_string(opcode_));
    if (!fin_ || left_ > kMaxControlPayload) return InvalidArgument("WebSocket control frame too long or in pieces");
  } else {
    if (opcode_ > 2) return InvalidArgument("WebSocket opcode " + std::to_string(opcode_));
    if ((opcode_ == 0) != in_message_) return InvalidArgument("WebSocket message begins or continues out of turn");
    if (opcode_ != 0) {
      in_message_ = true;
      text_ = opcode_ == static_cast<uint8_t>(WebSocketOpcode::kText);
      first_ = true;
    }
  }
  in_frame_ = true;
  head_.clear();
  return {};
}

Status WebSocketDecoder::Payload(std::string_view bytes) {
  std::string plain(bytes);
  if (server_) {
    for (char& c : plain) c = static_cast<char>(static_cast<uint8_t>(c) ^ mask_[mask_at_++ & 3]);
  }
  if (IsControl(opcode_)) {
    control_ += plain;
    return {};
  }
  bool last = fin_ && left_ == 0;
  if (!plain.empty() || last) {
    visitor_.OnMessagePiece(text_, plain, first_, last);
    first_ = false;
  }
  return {};
}

void WebSocketDecoder::EndFrame() {
  in_frame_ = false;
  if (!IsControl(opcode_)) {
    if (fin_) in_message_ = false;
    return;
  }
  std::string payload = std::move(control_);
  control_.clear();
  if (opcode_ == static_cast<uint8_t>(WebSocketOpcode::kPing)) {
    visitor_.OnPingFrame(payload);
  } else if (opcode_ == static_cast<uint8_t>(WebSocketOpcode::kClose)) {
    closed_ = true;
    uint16_t code = 1005;
    if (payload.size() >= 2) {
      code = static_cast<uint16_t>((static_cast<uint8_t>(payload[0]) << 8) | static_cast<uint8_t>(payload[1]));
    }
    visitor_.OnCloseFrame(code);
  }
}

std::string WebSocketFrameHead(WebSocketOpcode opcode, uint64_t size) {
  std::string out;
  out.push_back(static_cast<char>(0x80 | static_cast<uint8_t>(opcode)));
  int length_bytes = 0;
  if (size < 126) {
    out.push_back(static_cast<char>(size));
  } else if (size <= 0xffff) {
    out.push_back(126);
    length_bytes = 2;
  } else {
    out.push_back(127);
    length_bytes = 8;
  }
  for (int i = length_bytes - 1; i >= 0; --i) out.push_back(static_cast<char>((size >> (8 * i)) & 0xff));
  return out;
}

std::string WebSocketFrame(WebSocketOpcode opcode, std::string_view payload, std::string_view mask) {
  std::string out = WebSocketFrameHead(opcode, payload.size());
  if (mask.empty()) {
    out += payload;
    return out;
  }
  out[1] = static_cast<char>(static_cast<uint8_t>(out[1]) | 0x80);
  out += mask.substr(0, 4);
  for (size_t i = 0; i < payload.size(); ++i) {
    out.push_back(static_cast<char>(static_cast<uint8_t>(payload[i]) ^ static_cast<uint8_t>(mask[i & 3])));
  }
  return out;
}

}  // namespace davit::http
