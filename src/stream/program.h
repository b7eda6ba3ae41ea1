// Program: what runs on a session's streams once the connection speaks a protocol, and the Host that it
// runs in. Both live on the io thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "sched/event_loop.h"
#include "sched/thread_pool.h"
#include "stream/server.h"
#include "stream/wire.h"

namespace davit::stream {

// One timer of an object that may die before it fires.
class Timer {
 public:
  explicit Timer(sched::EventLoop& loop) : loop_(loop) {}
  ~Timer() { Cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Replaces what was set.
  void Set(std::chrono::steady_clock::duration delay, std::function<void()> callback) {
    Cancel();
    token_ = loop_.After(delay, [this, run = std::move(callback)] {
      token_ = 0;
      // A copy: the callback may set the timer again or end its owner.
      auto copy = run;
      copy();
    });
  }
  void Cancel() {
    if (token_ != 0) loop_.Remove(token_);
    token_ = 0;
  }

 private:
  sched::EventLoop& loop_;
  sched::EventLoop::Token token_ = 0;
};

class Host {
 public:
  virtual ~Host() = default;
  virtual Wire& wire() = 0;
  virtual sched::EventLoop& loop() = 0;
  virtual sched::ThreadPool& pool() = 0;  // for calls of the backend
  virtual Backend& backend() = 0;
  virtual const ServerOptions& options() = 0;
  // The client does not take what was sent: stop the sources until OnRoom.
  [[nodiscard]] virtual bool Congested() const = 0;
  // The program's buffers are full: stop reading from the client, or go on.
  virtual void PauseInput(bool pause) = 0;
  // Stream data moved: the session is not idle.
  virtual void Touch() = 0;
  // The last byte was sent: flush, let the client hang up, close.
  virtual void Complete() = 0;
  // Close at once.
  virtual void Abort(const Status& why) = 0;
};

class Program : public WireEvents {
 public:
  // There is room again after Congested().
  virtual void OnRoom() = 0;
  // The session is over: free everything, call nothing any more.
  virtual void Stop() = 0;
};

}  // namespace davit::stream
