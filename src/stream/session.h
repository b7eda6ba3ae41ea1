// Session: one client connection on the io thread, from accept to close: the request's head, the
// handshake, and then a Wire with a Program on it.
#pragma once

#include <memory>
#include <string>

#include "http/request_head.h"
#include "stream/fd_stream.h"
#include "stream/handshake.h"
#include "stream/program.h"
#include "stream/tickets.h"
#include "stream/websocket_wire.h"

namespace davit::stream {

// What sessions share; outlives them.
struct SessionContext {
  ServerOptions options;
  Backend* backend = nullptr;
  sched::EventLoop* loop = nullptr;
  sched::ThreadPool* pool = nullptr;
  Tickets* tickets = nullptr;
};

class Session final : public Host, public WireEvents, public std::enable_shared_from_this<Session> {
 public:
  // `on_closed` is called once, `on_redeemed` before it when the client has shown a ticket; on the io thread.
  Session(SessionContext& context, std::function<void()> on_redeemed, std::function<void()> on_closed);

  void Begin(sys::UniqueFd connection);
  void Close(const Status& why);

 private:
  Wire& wire() override { return *wire_; }
  sched::EventLoop& loop() override { return *context_.loop; }
  sched::ThreadPool& pool() override { return *context_.pool; }
  Backend& backend() override { return *context_.backend; }
  const ServerOptions& options() override { return context_.options; }
  [[nodiscard]] bool Congested() const override;
  void PauseInput(bool pause) override;
  void Touch() override { last_activity_ = std::chrono::steady_clock::now(); }
  void Complete() override;
  void Abort(const Status& why) override { Close(why); }

  // Between the wire and the program, which is made after it.
  void OnStream(uint32_t id, const StreamInfo& info) override { program_->OnStream(id, info); }
  void OnData(uint32_t id, std::string_view bytes) override { program_->OnData(id, bytes); }
  void OnEnd(uint32_t id) override { program_->OnEnd(id); }
  void OnReset(uint32_t id) override { program_->OnReset(id); }

  enum class Phase { kHead, kStreams, kFinishing, kRefused };
  void OnInput(std::string_view bytes);
  void OnInputEnd(const Status& why);
  void OnWritten();
  void OnHead(const http::RequestHead& head, std::string_view rest);
  void StartProgram(const Upgrade& upgrade, TicketRequest request, ChannelOptions channels, std::string_view rest);
  void WireInput(std::string_view bytes);
  void Refuse(std::string_view answer);
  void WaitForClose();
  void WatchIdle();
  void UpdateReading();

  SessionContext& context_;
  std::function<void()> on_redeemed_;
  std::function<void()> on_closed_;
  Phase phase_ = Phase::kHead;
  bool closed_ = false;
  std::string head_;
  std::shared_ptr<FdStream> connection_;
  std::unique_ptr<Wire> wire_;
  std::shared_ptr<Program> program_;
  bool congested_ = false;
  bool paused_ = false;   // by the program
  bool flooded_ = false;  // too much waits for a client that sends and does not read
  Timer timer_;           // header, then close
  Timer idle_timer_;
  std::chrono::steady_clock::time_point last_activity_;
};

}  // namespace davit::stream
