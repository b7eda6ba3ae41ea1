// PortSession: the program of a port-forward: pairs of streams, each joined to one TCP connection inside
// the pod.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "stream/fd_stream.h"
#include "stream/program.h"

namespace davit::stream {

class PortSession final : public Program, public std::enable_shared_from_this<PortSession> {
 public:
  // `host` outlives this or calls Stop first.
  PortSession(Host& host, PortForwardRequest request) : host_(host), request_(std::move(request)) {}

  void OnStream(uint32_t id, const StreamInfo& info) override;
  void OnData(uint32_t id, std::string_view bytes) override;
  void OnEnd(uint32_t id) override;
  void OnReset(uint32_t id) override;
  void OnRoom() override;
  void Stop() override;

 private:
  // Named by a number of our own, since a request id may come again once its pair is done.
  using PairKey = uint64_t;
  struct Pair {
    explicit Pair(sched::EventLoop& loop) : timer(loop) {}
    std::string request_id;
    std::string port_text;
    uint32_t error = 0;
    uint32_t data = 0;
    bool has_error = false;
    bool has_data = false;
    std::shared_ptr<FdStream> socket;
    std::string early;          // data before the socket is there
    bool client_ended = false;  // half-closed by the client
    bool server_ended = false;  // half-closed by the pod
    bool full = false;          // its buffer stops the client
    size_t unwritten = 0;       // taken from the client and not credited yet
    Timer timer;                // until both streams are there
  };

  void OpenPair(PairKey key);
  void OnOpened(PairKey key, int port, Result<sys::UniqueFd> fd);
  void OnPodData(PairKey key, std::string_view bytes);
  void OnPodEnd(PairKey key, const Status& why);
  void Fail(PairKey key, const std::string& text);
  void Finish(PairKey key);
  void CheckBuffer(Pair& pair);
  Pair* Find(PairKey key);
  PairKey KeyOf(uint32_t id) const;

  Host& host_;
  const PortForwardRequest request_;
  std::map<PairKey, std::unique_ptr<Pair>> pairs_;
  std::map<uint32_t, PairKey> by_stream_;
  PairKey next_key_ = 1;
  size_t opening_ = 0;  // calls of the backend under way, also for pairs that are gone
  size_t full_ = 0;     // pairs whose buffer is full
  bool congested_ = false;
  bool stopped_ = false;
};

}  // namespace davit::stream
