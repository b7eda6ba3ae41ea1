#include "monitor/poller.h"

#include <sys/epoll.h>

#include <cerrno>
#include <chrono>

namespace davit::monitor {

Result<Poller> Poller::Create() {
  sys::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoError(errno, "create epoll");
  return Poller(std::move(epoll));
}

Status Poller::Add(int fd, uint32_t events, Pollable* target) {
  epoll_event event = {};
  event.events = events;
  event.data.ptr = target;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoError(errno, "poll descriptor");
  return {};
}

void Poller::Remove(int fd) { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

bool Poller::Wait(int timeout_ms) {
  epoll_event event = {};
  if (::epoll_wait(epoll_.get(), &event, 1, timeout_ms) != 1) return false;
  static_cast<Pollable*>(event.data.ptr)->OnReady(event.events);
  return true;
}

void PolledFd::Set(uint32_t events) {
  if (events == events_ || !fd_.valid()) return;
  if (events_ != 0) poller_.Remove(fd_.get());
  events_ = 0;
  if (events != 0 && poller_.Add(fd_.get(), events, target_).ok()) events_ = events;
}

int64_t SteadyMicros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t SteadyMs() { return SteadyMicros() / 1000; }

}  // namespace davit::monitor
