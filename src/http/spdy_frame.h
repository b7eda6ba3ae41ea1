// SPDY/3.1 frames, without input or output: bytes in, calls out, and frames to bytes.
//
// Source: the SPDY/3.1 draft, section 2.2 and 2.6. Payload of DATA frames is handed on as it arrives, so
// that a frame of 16 MiB costs no buffer; control frames are collected first and are capped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/spdy_headers.h"

namespace davit::http {

inline constexpr size_t kMaxSpdyControlFrame = 64 * 1024;  // payload, compressed

// Codes of RST_STREAM (section 2.6.3).
enum class SpdyReset : uint32_t {
  kProtocolError = 1,
  kInvalidStream = 2,
  kRefusedStream = 3,
  kUnsupportedVersion = 4,
  kCancel = 5,
  kInternalError = 6,
  kFlowControlError = 7,
  kStreamInUse = 8,
  kStreamAlreadyClosed = 9,
};

// What a peer sent. Stream ids have 31 bits and are not checked here for being open.
class SpdyVisitor {
 public:
  virtual ~SpdyVisitor() = default;
  virtual void OnSynStream(uint32_t id, bool fin, bool unidirectional, const SpdyHeaders& headers) = 0;
  virtual void OnSynReply(uint32_t id, bool fin, const SpdyHeaders& headers) = 0;
  virtual void OnHeaders(uint32_t id, bool fin, const SpdyHeaders& headers) = 0;
  // A piece of a DATA frame's payload; `fin` with the last piece, which may be empty.
  virtual void OnDataPiece(uint32_t id, std::string_view bytes, bool fin) = 0;
  virtual void OnRstStream(uint32_t id, uint32_t code) = 0;
  virtual void OnPing(uint32_t id) = 0;
  virtual void OnGoAway(uint32_t last_good_stream, uint32_t code) = 0;
  virtual void OnWindowUpdate(uint32_t id, uint32_t delta) = 0;
};

class SpdyDecoder {
 public:
  // `visitor` outlives this.
  explicit SpdyDecoder(SpdyVisitor& visitor) : visitor_(visitor) {}

  // Any cut of the byte stream. An error (kInvalidArgument, kResourceExhausted) ends the connection: the
  // decoder must not be used after it. SETTINGS and unknown control frames are skipped.
  Status Decode(std::string_view bytes);

 private:
  Status StartFrame();
  Status ControlFrame();
  Status HeaderFrame(uint16_t type, uint8_t flags, std::string_view payload);

  SpdyVisitor& visitor_;
  SpdyHeaderInflater inflater_;
  std::string head_;     // the eight bytes of the frame's header, as far as they are here
  std::string payload_;  // of a control frame
  bool in_frame_ = false;
  bool control_ = false;
  size_t left_ = 0;  // of the frame's payload
};

// Frames as bytes. Holds the compression state of one direction.
class SpdyEncoder {
 public:
  std::string SynStream(uint32_t id, bool fin, const SpdyHeaders& headers);
  std::string SynReply(uint32_t id, bool fin, const SpdyHeaders& headers);
  static std::string RstStream(uint32_t id, SpdyReset code);
  static std::string Ping(uint32_t id);
  static std::string GoAway(uint32_t last_good_stream, uint32_t code);
  static std::string WindowUpdate(uint32_t id, uint32_t delta);
  // Only the eight bytes in front of `size` bytes of payload (at most 2^24 - 1), which the caller sends.
  static std::string DataHead(uint32_t id, size_t size, bool fin);

 private:
  SpdyHeaderDeflater deflater_;
};

}  // namespace davit::http
