#include "http/spdy_frame.h"

#include <algorithm>
#include <cassert>

namespace davit::http {
namespace {

constexpr size_t kHeadBytes = 8;
constexpr uint16_t kVersion = 3;
constexpr uint8_t kFin = 1;
constexpr uint8_t kUnidirectional = 2;  // of SYN_STREAM
constexpr uint32_t kIdMask = 0x7fffffff;

enum Type : uint16_t {
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};

uint32_t Word(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = at; i < at + 4; ++i) value = (value << 8) | static_cast<uint8_t>(bytes[i]);
  return value;
}

void AppendWord(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>((value >> shift) & 0xff));
}

std::string Frame(Type type, uint8_t flags, std::string_view payload) {
  std::string out;
  out.reserve(kHeadBytes + payload.size());
  AppendWord(out, 0x80000000U | (uint32_t{kVersion} << 16) | type);
  AppendWord(out, (uint32_t{flags} << 24) | static_cast<uint32_t>(payload.size()));
  out += payload;
  return out;
}

std::string Words(std::initializer_list<uint32_t> words) {
  std::string out;
  for (uint32_t word : words) AppendWord(out, word);
  return out;
}

}  // namespace

Status SpdyDecoder::Decode(std::string_view bytes) {
  while (!bytes.empty()) {
    if (!in_frame_) {
      size_t take = std::min(kHeadBytes - head_.size(), bytes.size());
      head_ += bytes.substr(0, take);
      bytes.remove_prefix(take);
      if (head_.size() < kHeadBytes) return {};
      RETURN_IF_ERROR(StartFrame());
      if (left_ > 0) continue;
    }
    size_t take = std::min(left_, bytes.size());
    left_ -= take;
    if (control_) {
      payload_ += bytes.substr(0, take);
      if (left_ == 0) RETURN_IF_ERROR(ControlFrame());
    } else {
      bool fin = left_ == 0 && (static_cast<uint8_t>(head_[4]) & kFin) != 0;
      if (take > 0 || fin) visitor_.OnDataPiece(Word(head_, 0) & kIdMask, bytes.substr(0, take), fin);
    }
    bytes.remove_prefix(take);
    if (left_ == 0) {
      in_frame_ = false;
      head_.clear();
      payload_.clear();
    }
  }
  return {};
}

Status SpdyDecoder::StartFrame() {
  in_frame_ = true;
  control_ = (static_cast<uint8_t>(head_[0]) & 0x80) != 0;
  left_ = Word(head_, 4) & 0xffffff;
  if (!control_) {
    if (Word(head_, 0) == 0) return InvalidArgument("SPDY data frame for stream 0");
    return {};
  }
  uint32_t version = (Word(head_, 0) >> 16) & 0x7fff;
  if (version != kVersion) return InvalidArgument("SPDY version " + std::to_string(version) + " is not 3");
  if (left_ > kMaxSpdyControlFrame) {
    return ResourceExhausted("SPDY control frame of " + std::to_string(left_) + " bytes");
  }
  return {};
}

Status SpdyDecoder::ControlFrame() {
  auto type = static_cast<uint16_t>(Word(head_, 0) & 0xffff);
  auto flags = static_cast<uint8_t>(head_[4]);
  std::string_view payload = payload_;
  auto wrong_size = [&] {
    return InvalidArgument("SPDY control frame of type " + std::to_string(type) + " with " +
                           std::to_string(payload.size()) + " bytes");
  };
  switch (type) {
    case kSynStream:
    case kSynReply:
    case kHeaders: {
      if (payload.size() < (type == kSynStream ? 10U : 4U)) return wrong_size();
      return HeaderFrame(type, flags, payload);
    }
    case kRstStream:
      if (payload.size() != 8) return wrong_size();
      visitor_.OnRstStream(Word(payload, 0) & kIdMask, Word(payload, 4));
      return {};
    case kPing:
      if (payload.size() != 4) return wrong_size();
      visitor_.OnPing(Word(payload, 0));
      return {};
    case kGoAway:
      if (payload.size() != 8) return wrong_size();
      visitor_.OnGoAway(Word(payload, 0) & kIdMask, Word(payload, 4));
      return {};
    case kWindowUpdate:
      if (payload.size() != 8) return wrong_size();
      visitor_.OnWindowUpdate(Word(payload, 0) & kIdMask, Word(payload, 4) & kIdMask);
      return {};
    default:
      return {};  // SETTINGS asks nothing of us; unknown types must be ignored (section 2.2.1)
  }
}

Status SpdyDecoder::HeaderFrame(uint16_t type, uint8_t flags, std::string_view payload) {
  uint32_t id = Word(payload, 0) & kIdMask;
  if (id == 0) return InvalidArgument("SPDY header frame for stream 0");
  // SYN_STREAM: two ids, priority and credential slot; the others: one id.
  ASSIGN_OR_RETURN(SpdyHeaders headers, inflater_.Inflate(payload.substr(type == kSynStream ? 10 : 4)));
  bool fin = (flags & kFin) != 0;
  switch (type) {
    case kSynStream:
      visitor_.OnSynStream(id, fin, (flags & kUnidirectional) != 0, headers);
      break;
    case kSynReply:
      visitor_.OnSynReply(id, fin, headers);
      break;
    default:
      visitor_.OnHeaders(id, fin, headers);
  }
  return {};
}

std::string SpdyEncoder::SynStream(uint32_t id, bool fin, const SpdyHeaders& headers) {
  std::string payload = Words({id, 0});
  payload.append(2, '\0');  // priority 0, slot 0
  payload += deflater_.Deflate(headers);
  return Frame(kSynStream, fin ? kFin : 0, payload);
}

std::string SpdyEncoder::SynReply(uint32_t id, bool fin, const SpdyHeaders& headers) {
  return Frame(kSynReply, fin ? kFin : 0, Words({id}) + deflater_.Deflate(headers));
}

std::string SpdyEncoder::RstStream(uint32_t id, SpdyReset code) {
  return Frame(kRstStream, 0, Words({id, static_cast<uint32_t>(code)}));
}

std::string SpdyEncoder::Ping(uint32_t id) { return Frame(kPing, 0, Words({id})); }

std::string SpdyEncoder::GoAway(uint32_t last_good_stream, uint32_t code) {
  return Frame(kGoAway, 0, Words({last_good_stream, code}));
}

std::string SpdyEncoder::WindowUpdate(uint32_t id, uint32_t delta) {
  return Frame(kWindowUpdate, 0, Words({id, delta}));
}

std::string SpdyEncoder::DataHead(uint32_t id, size_t size, bool fin) {
  assert(size <= 0xffffff);
  return Words({id & kIdMask, (fin ? uint32_t{kFin} << 24 : 0) | static_cast<uint32_t>(size)});
}

}  // namespace davit::http
