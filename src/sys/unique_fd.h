// UniqueFd owns one file descriptor and closes it. Also the byte-level helpers that every caller of
// read(2) and write(2) needs: whole reads with a cap, whole writes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/deadline.h"
#include "base/result.h"

namespace davit::sys {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
// Both ends close-on-exec. kResourceExhausted when out of descriptors.
Result<Pipe> MakePipe();
// A connected AF_UNIX pair of `type` (SOCK_STREAM, SOCK_SEQPACKET), close-on-exec.
Result<std::pair<UniqueFd, UniqueFd>> MakeSocketPair(int type);

Status SetNonBlocking(int fd, bool on);

// open(2) with O_CLOEXEC added; the error names the path.
Result<UniqueFd> Open(const std::string& path, int flags, unsigned mode = 0);

// Everything up to end of file. kResourceExhausted naming the cap when there is more than max_bytes.
Result<std::string> ReadAll(int fd, size_t max_bytes);
Result<std::string> ReadFile(const std::string& path, size_t max_bytes);
// All of `data`, over short writes and EINTR.
Status WriteAll(int fd, std::string_view data);
// One write(2) to an existing file (cgroup and sysctl files take a value in one write).
Status WriteValue(const std::string& path, std::string_view value);

}  // namespace davit::sys
