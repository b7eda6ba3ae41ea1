// EventLoop: one epoll thread for descriptors and timers. Callbacks run on the loop's thread and must
// not block: they post to a Strand.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace davit::sched {

class EventLoop {
 public:
  using Callback = std::function<void(uint32_t epoll_events)>;
  using Token = uint64_t;  // names a watch or a timer; never reused

  static Result<std::unique_ptr<EventLoop>> Start(std::string thread_name);
  // Stops and joins; what was posted still runs, pending timers do not fire. Not from a callback.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Any thread. The descriptor stays the caller's and must live until Remove has returned. Level triggered.
  Result<Token> Watch(int fd, uint32_t epoll_events, Callback callback);
  // Any thread. Once it has returned, the callback is not running and will not run (when called from
  // the loop's own thread: will not run again).
  void Remove(Token token);

  // Any thread. Runs once after `delay`, unless removed before.
  Token After(std::chrono::steady_clock::duration delay, std::function<void()> callback);

  // Runs `task` on the loop's thread, soon.
  void Post(std::function<void()> task);

 private:
  struct State;
  explicit EventLoop(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::sched
