#include "stream/spdy_wire.h"

#include <algorithm>

namespace davit::stream {
namespace {

// Half of SPDY's initial window: the client never runs dry, and small reads cost no frame each.
constexpr uint32_t kCreditStep = 32 * 1024;
constexpr size_t kMaxPayload = 32 * 1024;  // of the DATA frames sent

}  // namespace

SpdyWire::SpdyWire(WireEvents& events, ByteSink out, size_t max_streams)
    : events_(events), out_(std::move(out)), max_streams_(max_streams), decoder_(*this) {}

Status SpdyWire::Input(std::string_view bytes) {
  RETURN_IF_ERROR(error_);
  RETURN_IF_ERROR(decoder_.Decode(bytes));
  return error_;
}

void SpdyWire::Send(uint32_t id, std::string_view bytes) {
  auto it = streams_.find(id);
  if (it == streams_.end() || it->second.local_ended) return;
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, kMaxPayload);
    std::string frame = http::SpdyEncoder::DataHead(id, piece.size(), false);
    frame += piece;
    out_(frame);
    bytes.remove_prefix(piece.size());
  }
}

void SpdyWire::End(uint32_t id) {
  auto it = streams_.find(id);
  if (it == streams_.end() || it->second.local_ended) return;
  it->second.local_ended = true;
  if (it->second.remote_ended) streams_.erase(it);
  out_(http::SpdyEncoder::DataHead(id, 0, true));
}

void SpdyWire::Reset(uint32_t id) {
  if (streams_.erase(id) > 0) out_(http::SpdyEncoder::RstStream(id, http::SpdyReset::kCancel));
}

void SpdyWire::Consumed(uint32_t id, size_t bytes) {
  CreditSession(bytes);
  auto it = streams_.find(id);
  if (it == streams_.end() || it->second.remote_ended) return;
  it->second.consumed += static_cast<uint32_t>(bytes);
  if (it->second.consumed < kCreditStep) return;
  out_(http::SpdyEncoder::WindowUpdate(id, it->second.consumed));
  it->second.consumed = 0;
}

void SpdyWire::CreditSession(size_t bytes) {
  session_consumed_ += static_cast<uint32_t>(bytes);
  if (session_consumed_ < kCreditStep) return;
  out_(http::SpdyEncoder::WindowUpdate(0, session_consumed_));
  session_consumed_ = 0;
}

void SpdyWire::Finish(bool hang_up) {
  // GOAWAY makes Kubernetes' client tear its streams down at once, so it is for a client that had its time.
  if (hang_up) out_(http::SpdyEncoder::GoAway(last_id_, 0));
}

void SpdyWire::OnSynStream(uint32_t id, bool fin, bool unidirectional, const http::SpdyHeaders& headers) {
  // Clients use odd ids, each above the one before (section 2.3.2).
  if (id % 2 == 0 || id <= last_id_) {
    error_ = InvalidArgument("SPDY stream " + std::to_string(id) + " opened out of order");
    return;
  }
  last_id_ = id;
  if (streams_.size() >= max_streams_ || unidirectional) {
    out_(http::SpdyEncoder::RstStream(id, http::SpdyReset::kRefusedStream));
    return;
  }
  streams_.emplace(id, Stream{});
  out_(encoder_.SynReply(id, false, {}));
  auto value = [&](std::string_view name) {
    auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  };
  events_.OnStream(id, {value("streamtype"), value("port"), value("requestid")});
  if (fin) RemoteEnd(id);
}

void SpdyWire::OnSynReply(uint32_t id, bool, const http::SpdyHeaders&) {
  error_ = InvalidArgument("SPDY reply to stream " + std::to_string(id) + ", which the server did not open");
}

void SpdyWire::OnHeaders(uint32_t id, bool fin, const http::SpdyHeaders&) {
  if (fin) RemoteEnd(id);
}

void SpdyWire::OnDataPiece(uint32_t id, std::string_view bytes, bool fin) {
  if (id > last_id_) {
    error_ = InvalidArgument("SPDY data for stream " + std::to_string(id) + ", which is not open");
    return;
  }
  auto it = streams_.find(id);
  if (it == streams_.end() || it->second.remote_ended) {
    CreditSession(bytes.size());  // what was on its way when the stream ended
    return;
  }
  if (!bytes.empty()) events_.OnData(id, bytes);
  if (fin) RemoteEnd(id);
}

void SpdyWire::RemoteEnd(uint32_t id) {
  auto it = streams_.find(id);
  if (it == streams_.end() || it->second.remote_ended) return;
  it->second.remote_ended = true;
  if (it->second.local_ended) streams_.erase(it);
  events_.OnEnd(id);
}

void SpdyWire::OnRstStream(uint32_t id, uint32_t) {
  if (streams_.erase(id) > 0) events_.OnReset(id);
}

void SpdyWire::OnPing(uint32_t id) {
  // Odd ids are the client's and want an answer; even ones would be answers to pings never sent.
  if (id % 2 == 1) out_(http::SpdyEncoder::Ping(id));
}

void SpdyWire::OnGoAway(uint32_t, uint32_t) {}        // the client opens no more; it closes when it is done
void SpdyWire::OnWindowUpdate(uint32_t, uint32_t) {}  // see the header

}  // namespace davit::stream
