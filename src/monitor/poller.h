// The monitor's event loop: level-triggered epoll, one event at a time, so that a handler may close or
// delete whatever it likes: no second event of a batch can name it. Single thread.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::monitor {

class Pollable {
 public:
  virtual ~Pollable() = default;
  virtual void OnReady(uint32_t epoll_events) = 0;
};

class Poller {
 public:
  static Result<Poller> Create();
  // `target` lives until Remove. A descriptor that cannot be polled (a regular file) is an error.
  Status Add(int fd, uint32_t events, Pollable* target);
  void Remove(int fd);
  // Handles at most one event; false when the timeout (-1: none) passed.
  bool Wait(int timeout_ms);

 private:
  explicit Poller(sys::UniqueFd epoll) : epoll_(std::move(epoll)) {}
  sys::UniqueFd epoll_;
};

// One descriptor and whether it is being polled.
class PolledFd {
 public:
  PolledFd(Poller& poller, Pollable* target) : poller_(poller), target_(target) {}
  ~PolledFd() { Close(); }
  PolledFd(const PolledFd&) = delete;
  PolledFd& operator=(const PolledFd&) = delete;

  void Open(sys::UniqueFd fd) {
    Close();
    fd_ = std::move(fd);
  }
  void Close() {
    Set(0);
    fd_.reset();
  }
  // 0: not polled, not even for errors.
  void Set(uint32_t events);
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool open() const { return fd_.valid(); }

 private:
  Poller& poller_;    // owned by the Monitor, outlives this
  Pollable* target_;  // the owner of this
  sys::UniqueFd fd_;
  uint32_t events_ = 0;
};

// CLOCK_MONOTONIC in micro- and milliseconds.
int64_t SteadyMicros();
int64_t SteadyMs();

}  // namespace davit::monitor
