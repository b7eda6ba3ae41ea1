// FdStream: one descriptor on the io thread, read and written without blocking: a client's connection, a
// pipe of a process, a terminal, a forwarded port.
//
// It buffers what could not be written yet; how much of that is allowed is the owner's business, who sees
// buffered() and stops its source. All calls and callbacks are on the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "sched/event_loop.h"
#include "sys/unique_fd.h"

namespace davit::stream {

class FdStream : public std::enable_shared_from_this<FdStream> {
 public:
  // Empty functions are allowed. They may call any method, Close included.
  struct Events {
    std::function<void(std::string_view)> data;
    std::function<void(const Status&)> end;     // OK: end of file; an error: reading failed. Once.
    std::function<void(size_t)> written;        // so many bytes left the buffer
    std::function<void(const Status&)> broken;  // writing failed, the buffer is dropped. Once.
    // While reading is off: the peer is gone. Only when set is it watched for; then it is as if `end` had come.
    std::function<void()> hangup;
  };

  // Sets O_NONBLOCK. Reading is off at first.
  static std::shared_ptr<FdStream> Create(sched::EventLoop& loop, sys::UniqueFd fd, Events events);
  ~FdStream();

  void SetReading(bool on);
  void Write(std::string_view bytes);
  // Once the buffer is empty: shuts a socket's sending side down, closes anything else.
  void EndWriting();
  // Drops the buffer and closes. No callback comes after it.
  void Close();

  [[nodiscard]] size_t buffered() const { return buffer_.size() - sent_; }
  [[nodiscard]] bool read_ended() const { return read_ended_; }
  [[nodiscard]] bool closed() const { return !fd_.valid(); }
  // Whether a read would get something now (poll(2)).
  [[nodiscard]] bool Readable() const;

 private:
  FdStream(sched::EventLoop& loop, sys::UniqueFd fd, Events events);
  void UpdateWatch();
  void OnReady(uint32_t ready);
  void ReadOnce();
  void Flush();
  void FinishWriting();
  void Break(int error);

  sched::EventLoop& loop_;
  sys::UniqueFd fd_;
  Events events_;
  bool is_socket_ = false;
  bool reading_ = false;
  bool read_ended_ = false;
  bool write_ending_ = false;
  bool write_ended_ = false;
  std::string buffer_;
  size_t sent_ = 0;  // of buffer_
  uint32_t watched_ = 0;
  sched::EventLoop::Token token_ = 0;
};

}  // namespace davit::stream
