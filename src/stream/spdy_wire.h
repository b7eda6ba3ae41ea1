// SpdyWire: streams of a SPDY/3.1 connection, as Kubernetes' clients use it.
//
// Windows: what arrives is credited with WINDOW_UPDATE for the stream and the session once the program has
// consumed it. The client's own windows are not enforced: the SPDY library of Kubernetes never sends
// WINDOW_UPDATE, so a server that waited for it would stall after 64 KiB. TCP's back-pressure bounds what
// is on its way, in both directions.
#pragma once

#include <map>

#include "http/spdy_frame.h"
#include "stream/wire.h"

namespace davit::stream {

class SpdyWire final : public Wire, private http::SpdyVisitor {
 public:
  // `events` outlives this. More than `max_streams` open ones are refused one by one.
  SpdyWire(WireEvents& events, ByteSink out, size_t max_streams);

  void Start() override {}
  Status Input(std::string_view bytes) override;
  void Send(uint32_t id, std::string_view bytes) override;
  void End(uint32_t id) override;
  void Reset(uint32_t id) override;
  void Consumed(uint32_t id, size_t bytes) override;
  void Finish(bool hang_up) override;
  [[nodiscard]] bool peer_done() const override { return false; }  // SPDY clients just close

 private:
  struct Stream {
    bool local_ended = false;
    bool remote_ended = false;
    uint32_t consumed = 0;  // not credited yet
  };
  void OnSynStream(uint32_t id, bool fin, bool unidirectional, const http::SpdyHeaders& headers) override;
  void OnSynReply(uint32_t id, bool fin, const http::SpdyHeaders& headers) override;
  void OnHeaders(uint32_t id, bool fin, const http::SpdyHeaders& headers) override;
  void OnDataPiece(uint32_t id, std::string_view bytes, bool fin) override;
  void OnRstStream(uint32_t id, uint32_t code) override;
  void OnPing(uint32_t id) override;
  void OnGoAway(uint32_t last_good_stream, uint32_t code) override;
  void OnWindowUpdate(uint32_t id, uint32_t delta) override;
  void RemoteEnd(uint32_t id);
  void CreditSession(size_t bytes);

  WireEvents& events_;
  ByteSink out_;
  const size_t max_streams_;
  http::SpdyDecoder decoder_;
  http::SpdyEncoder encoder_;
  std::map<uint32_t, Stream> streams_;
  uint32_t last_id_ = 0;
  uint32_t session_consumed_ = 0;
  Status error_;
};

}  // namespace davit::stream
