// Attached clients: copies of the output to each, one stdin from all of them. A slow client holds the
// container back and is dropped after kStallMs without progress; a dead one is dropped at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/log_writer.h"
#include "monitor/poller.h"

namespace davit::monitor {

inline constexpr size_t kMaxSinkBytes = 1024 * 1024;
inline constexpr int64_t kStallMs = 10'000;  // by default (monitor.h, Limits)

// One descriptor of a client that gets a copy of the output.
class Sink : public Pollable {
 public:
  Sink(Poller& poller, sys::UniqueFd fd);
  void Deliver(std::string_view data);
  void OnReady(uint32_t epoll_events) override;
  [[nodiscard]] bool full() const { return pending_.size() - sent_ >= kMaxSinkBytes; }
  [[nodiscard]] bool idle() const { return !watch_.open() || sent_ == pending_.size(); }
  // Something waits and the client has read nothing since the time (SteadyMs).
  [[nodiscard]] bool Stalled(int64_t since) const { return !idle() && progress_at_ <= since; }

 private:
  void Flush();
  PolledFd watch_;
  std::string pending_;  // [sent_, size) waits
  size_t sent_ = 0;
  int64_t progress_at_ = 0;
};

// The container's stdin: a pipe or the terminal. Holds what the container does not take yet.
class ContainerStdin : public Pollable {
 public:
  explicit ContainerStdin(Poller& poller) : watch_(poller, this) {}
  void Open(sys::UniqueFd fd);
  void Write(std::string_view data);
  void CloseWhenWritten();
  void OnReady(uint32_t epoll_events) override;
  [[nodiscard]] bool open() const { return watch_.open(); }
  [[nodiscard]] bool busy() const { return !pending_.empty(); }

 private:
  void Flush();
  PolledFd watch_;
  std::string pending_;
  bool close_wanted_ = false;
};

// One Attach connection. The connection itself belongs to the Monitor.
class AttachPeer : public Pollable {
 public:
  // Reads through `scratch`. All three outlive this.
  AttachPeer(Poller& poller, ContainerStdin& container, PageBuffer& scratch, bool stdin_once);
  ~AttachPeer() override;  // passes on what the client has already written

  void SetStdin(sys::UniqueFd fd);
  void SetSink(Stream stream, sys::UniqueFd fd);
  void Deliver(Stream stream, std::string_view data);
  void OnReady(uint32_t epoll_events) override;  // stdin
  // Reads stdin only while the container takes it.
  void UpdateInterest();
  [[nodiscard]] bool full() const;
  [[nodiscard]] bool drained() const;
  [[nodiscard]] bool Stalled(int64_t since) const;

 private:
  bool ReadOnce();  // false when there is nothing more for now, or for ever
  ContainerStdin& container_;
  PageBuffer& scratch_;
  bool stdin_once_;
  Poller& poller_;
  PolledFd stdin_;
  std::unique_ptr<Sink> sinks_[2];
};

}  // namespace davit::monitor
