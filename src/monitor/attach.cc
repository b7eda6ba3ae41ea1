#include "monitor/attach.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace davit::monitor {

namespace {
constexpr size_t kStdinChunk = 16 * 1024;
}  // namespace

Sink::Sink(Poller& poller, sys::UniqueFd fd) : watch_(poller, this) { watch_.Open(std::move(fd)); }

void Sink::Deliver(std::string_view data) {
  if (!watch_.open() || data.empty()) return;
  if (idle()) progress_at_ = SteadyMs();
  pending_.append(data);
  Flush();
}

void Sink::OnReady(uint32_t) { Flush(); }

void Sink::Flush() {
  while (sent_ < pending_.size()) {
    ssize_t n = ::write(watch_.fd(), pending_.data() + sent_, pending_.size() - sent_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {  // the reader is gone: the rest of the session (stdin, the other stream) goes on
      watch_.Close();
      sent_ = pending_.size();
      break;
    }
    sent_ += static_cast<size_t>(n);
    progress_at_ = SteadyMs();
  }
  if (sent_ == pending_.size()) {
    std::string().swap(pending_);  // an idle session holds no memory
    sent_ = 0;
    watch_.Set(0);
    return;
  }
  if (sent_ > kMaxSinkBytes / 2) {
    pending_.erase(0, sent_);
    sent_ = 0;
  }
  watch_.Set(EPOLLOUT);
}

void ContainerStdin::Open(sys::UniqueFd fd) { watch_.Open(std::move(fd)); }

void ContainerStdin::Write(std::string_view data) {
  if (!watch_.open() || close_wanted_) return;
  pending_.append(data);
  Flush();
}

void ContainerStdin::CloseWhenWritten() {
  close_wanted_ = true;
  Flush();
}

void ContainerStdin::OnReady(uint32_t) { Flush(); }

void ContainerStdin::Flush() {
  size_t sent = 0;
  while (watch_.open() && sent < pending_.size()) {
    ssize_t n = ::write(watch_.fd(), pending_.data() + sent, pending_.size() - sent);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {  // EPIPE: the container has closed its stdin
      watch_.Close();
      break;
    }
    sent += static_cast<size_t>(n);
  }
  pending_.erase(0, sent);
  if (!watch_.open() || pending_.empty()) {
    std::string().swap(pending_);
    if (close_wanted_) watch_.Close();
    watch_.Set(0);
    return;
  }
  watch_.Set(EPOLLOUT);
}

AttachPeer::AttachPeer(Poller& poller, ContainerStdin& container, PageBuffer& scratch, bool stdin_once)
    : container_(container), scratch_(scratch), stdin_once_(stdin_once), poller_(poller), stdin_(poller, this) {}

AttachPeer::~AttachPeer() {
  if (!stdin_.open()) return;
  // At most what a pipe or socket holds: a client that goes on writing is not listened to any more.
  for (int round = 0; round < 64 && ReadOnce(); ++round) {
  }
  if (stdin_.open() && stdin_once_) container_.CloseWhenWritten();
}

void AttachPeer::SetStdin(sys::UniqueFd fd) {
  stdin_.Open(std::move(fd));
  UpdateInterest();
}

void AttachPeer::SetSink(Stream stream, sys::UniqueFd fd) {
  sinks_[static_cast<int>(stream)] = std::make_unique<Sink>(poller_, std::move(fd));
}

void AttachPeer::Deliver(Stream stream, std::string_view data) {
  if (auto& sink = sinks_[static_cast<int>(stream)]) sink->Deliver(data);
}

void AttachPeer::OnReady(uint32_t) {
  ReadOnce();
  UpdateInterest();
}

bool AttachPeer::ReadOnce() {
  if (!stdin_.open()) return false;
  ssize_t n = ::read(stdin_.fd(), scratch_.data(), std::min(kStdinChunk, scratch_.capacity()));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {
    stdin_.Close();
    if (stdin_once_) container_.CloseWhenWritten();
    return false;
  }
  container_.Write({scratch_.data(), static_cast<size_t>(n)});
  return true;
}

void AttachPeer::UpdateInterest() {
  if (stdin_.open()) stdin_.Set(container_.busy() ? 0 : static_cast<uint32_t>(EPOLLIN));
}

bool AttachPeer::full() const {
  return std::any_of(std::begin(sinks_), std::end(sinks_), [](const auto& sink) { return sink && sink->full(); });
}

bool AttachPeer::drained() const {
  return std::all_of(std::begin(sinks_), std::end(sinks_), [](const auto& sink) { return !sink || sink->idle(); });
}

bool AttachPeer::Stalled(int64_t since) const {
  return std::any_of(std::begin(sinks_), std::end(sinks_),
                     [since](const auto& sink) { return sink && sink->Stalled(since); });
}

}  // namespace davit::monitor
