// Bridge: carries an attach or exec between a hijacked HTTP connection and the streaming server of the runtime, on the
// event loop: no thread waits, however many there are.
//
// Towards the client: raw bytes of a terminal, else frames of eight bytes' head and payload, as Docker's clients read
// them. Towards the runtime: the channels of client/stream_url.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/exchange.h"
#include "client/stream_url.h"
#include "http/websocket_frame.h"
#include "sched/event_loop.h"
#include "sys/unique_fd.h"

namespace davit::api {

// "\x01\0\0\0" + length + payload; stream 1 is stdout, 2 stderr.
std::string Frame(unsigned char stream, std::string_view payload);

// The bytes of "ctrl-p,ctrl-q", "a", "ctrl-@"; kInvalidArgument otherwise. Empty for an empty text.
Result<std::string> ParseDetachKeys(std::string_view text);

// Finds the sequence in any cut of the input.
class DetachScanner {
 public:
  explicit DetachScanner(std::string keys) : keys_(std::move(keys)) {}
  // What of `bytes` to pass on; sets found() at the sequence, after which nothing is.
  std::string Filter(std::string_view bytes);
  [[nodiscard]] bool found() const { return found_; }

 private:
  const std::string keys_;
  size_t matched_ = 0;
  bool found_ = false;
};

struct BridgeOptions {
  bool tty = false;
  bool in = false;
  bool out = true;
  bool err = true;
  std::string detach_keys = "\x10\x11";  // of a terminal; empty: none
  // On the loop's thread, once: the exit code of an exec, or why there is none. Cancelled: the client left.
  std::function<void(const Result<int>&)> on_end;
};

class Bridge final : public std::enable_shared_from_this<Bridge>, private http::WebSocketVisitor {
 public:
  Bridge(sched::EventLoop& loop, ExchangePtr exchange, client::Upgraded upgraded, BridgeOptions options);

  // Takes the exchange over, with that content type. Any thread.
  void Start(std::string_view content_type);
  // The same without a client: what comes is read and forgotten.
  void StartDetached();
  void Resize(int rows, int columns);  // any thread

 private:
  void Begin();
  void OnEvents(uint32_t events);
  void ReadUpstream();
  void FromClient(std::string_view bytes);
  void SendUpstream(unsigned char channel, std::string_view payload);
  void SendFrame(http::WebSocketOpcode opcode, std::string_view payload);
  void FlushUpstream();
  void End(bool client_left);

  void OnMessagePiece(bool text, std::string_view bytes, bool first, bool last) override;
  void OnPingFrame(std::string_view payload) override;
  void OnCloseFrame(uint16_t code) override;

  sched::EventLoop& loop_;
  ExchangePtr exchange_;  // nullptr: detached, or over
  sys::UniqueFd fd_;
  const int version_;
  std::string early_;
  BridgeOptions options_;
  http::WebSocketDecoder decoder_;
  DetachScanner keys_;
  sched::EventLoop::Token watch_ = 0;
  std::string out_;  // to the runtime
  std::string status_;
  unsigned char channel_ = client::kClose;
  bool paused_ = false;        // the client is slow
  bool input_paused_ = false;  // the runtime is
  bool closing_ = false;
  bool over_ = false;
};

// Which bridges there are, for terminals to be resized. Keys are ids of containers and of execs.
class Bridges {
 public:
  explicit Bridges(sched::EventLoop& loop) : loop_(loop) {}
  void Add(const std::string& key, const std::shared_ptr<Bridge>& bridge);
  // False: there is none.
  bool Resize(const std::string& key, int rows, int columns);
  sched::EventLoop& loop() { return loop_; }

 private:
  sched::EventLoop& loop_;
  std::mutex mutex_;
  std::multimap<std::string, std::weak_ptr<Bridge>> bridges_;
};

}  // namespace davit::api
