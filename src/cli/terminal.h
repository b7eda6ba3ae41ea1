// The caller's terminal: its size, raw mode for as long as an object lives, and signals as a descriptor.
#pragma once

#include <signal.h>
#include <termios.h>

#include <cstdint>
#include <initializer_list>
#include <optional>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::cli {

struct WindowSize {
  uint16_t columns = 80;
  uint16_t rows = 24;
};
// nullopt when `fd` is no terminal.
std::optional<WindowSize> SizeOf(int fd);

// Keys go through unchanged (^C too) until this is destroyed.
class RawMode {
 public:
  static Result<RawMode> Enter(int fd);
  RawMode(RawMode&& other) noexcept : fd_(std::exchange(other.fd_, -1)), saved_(other.saved_) {}
  RawMode& operator=(RawMode&&) = delete;
  ~RawMode();

 private:
  RawMode(int fd, const termios& saved) : fd_(fd), saved_(saved) {}
  int fd_;
  termios saved_;
};

// Blocks the signals in the calling thread (make it before others start) and gives them one by one. They
// stay blocked when this is gone.
class Signals {
 public:
  static Result<Signals> Block(std::initializer_list<int> signals);
  [[nodiscard]] int fd() const { return fd_.get(); }  // readable when one waits
  // The next that waits, or 0.
  int Take();

 private:
  explicit Signals(sys::UniqueFd fd) : fd_(std::move(fd)) {}
  sys::UniqueFd fd_;
};

// ctrl-p ctrl-q: leaves an attached terminal without ending what runs there.
class DetachKeys {
 public:
  // What of `bytes` to send; sets detached() at the sequence, after which nothing is to be sent.
  std::string Filter(std::string_view bytes);
  [[nodiscard]] bool detached() const { return detached_; }

 private:
  bool held_ = false;  // a ctrl-p that may begin the sequence
  bool detached_ = false;
};

}  // namespace davit::cli
