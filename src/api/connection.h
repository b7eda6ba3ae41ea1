// Connection: one client's HTTP/1.1 connection on the event loop.
//
// Edge-triggered: the descriptor is watched once, for everything. Input is read and taken apart on the loop's thread;
// output may come from any thread and is sent at once as far as the socket takes it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "api/body_pipe.h"
#include "http/chunked.h"
#include "http/request_head.h"
#include "sched/event_loop.h"
#include "sys/unique_fd.h"

namespace davit::api {

// What to do with a request whose head has come.
struct Plan {
  bool stream_body = false;  // `run` is called now and reads the body as it comes
  // With the body, or its stream. On the loop's thread: hands the work on.
  std::function<void(std::string body, std::shared_ptr<BodyPipe> stream)> run;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;
  struct Owner {
    sched::EventLoop* loop = nullptr;
    std::function<Plan(const std::shared_ptr<Connection>&, http::RequestHead)> plan;
    std::function<void(const std::shared_ptr<Connection>&)> gone;  // on the loop's thread
    size_t max_body = 8u << 20;
  };

  Connection(std::shared_ptr<const Owner> owner, sys::UniqueFd fd) : owner_(std::move(owner)), fd_(std::move(fd)) {}

  // ---- The loop's thread ----
  Status Start();
  void Drop();                        // at once; calls what waits for the end
  void Sweep(Clock::time_point now);  // drops it when it is overdue

  // ---- Any thread ----
  bool SendBytes(std::string bytes);   // false: it is closed
  bool WaitUnsentBelow(size_t bytes);  // false: it is closed
  [[nodiscard]] size_t Unsent() const;
  void OnDrained(std::function<void()> callback);
  void OnClosed(std::function<void()> callback);
  [[nodiscard]] bool closed() const;
  void Hijack(std::function<void(std::string_view)> data, std::function<void()> eof);
  void PauseInput(bool paused);
  // The answer is complete (`keep`: the next request may follow) or given up.
  void FinishExchange(bool keep);

 private:
  enum class Mode { kHead, kBody, kBusy, kRaw, kDrain, kGone };

  void OnEvents(uint32_t events);
  void ReadSome();
  void Process();
  bool TakeHead();  // false: wait for more
  bool TakeBody();
  void Refuse(int code, std::string_view text);
  void BodyDone();
  void Ended(bool keep);
  void StartHijack(std::function<void(std::string_view)> data, std::function<void()> eof);
  void Flush();
  void DrainThenClose();
  void Touch(std::chrono::seconds limit) { due_ = Clock::now() + limit; }

  const std::shared_ptr<const Owner> owner_;

  // Of the loop's thread.
  sched::EventLoop::Token watch_ = 0;
  Mode mode_ = Mode::kHead;
  std::string in_;
  bool eof_ = false;  // the client sends no more
  bool eof_told_ = false;
  bool input_paused_ = false;
  bool keep_alive_ = true;
  bool dispatched_ = false;  // Plan::run was called, and its exchange is not over
  Plan plan_;
  std::optional<http::ChunkedDecoder> chunked_;
  uint64_t body_left_ = 0;
  std::string body_;
  std::shared_ptr<BodyPipe> pipe_;
  std::function<void(std::string_view)> on_data_;
  std::function<void()> on_eof_;
  std::optional<Clock::time_point> due_;

  mutable std::mutex mutex_;  // of all that follows
  std::condition_variable sent_;
  sys::UniqueFd fd_;
  std::string out_;
  size_t out_at_ = 0;
  bool closed_ = false;
  bool end_after_flush_ = false;
  std::function<void()> on_drained_;
  std::function<void()> on_closed_;
};

}  // namespace davit::api
