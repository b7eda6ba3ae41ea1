#include "sys/unique_fd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/strings.h"

namespace davit::sys {

void UniqueFd::reset(int fd) {
  // close(2) is never repeated: on Linux the number is free even after EINTR.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "create pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<std::pair<UniqueFd, UniqueFd>> MakeSocketPair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) return ErrnoError(errno, "create socket pair");
  return std::pair<UniqueFd, UniqueFd>(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Status SetNonBlocking(int fd, bool on) {
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return ErrnoError(errno, "get descriptor flags");
  int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted != flags && ::fcntl(fd, F_SETFL, wanted) != 0) return ErrnoError(errno, "set descriptor flags");
  return {};
}

Result<UniqueFd> Open(const std::string& path, int flags, unsigned mode) {
  for (;;) {
    int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return ErrnoError(errno, "open " + path);
  }
}

Result<std::string> ReadAll(int fd, size_t max_bytes) {
  constexpr size_t kFirstChunk = 4096;  // most files read here are small ones of /proc, /sys and /run
  constexpr size_t kLargestChunk = size_t{1} << 20;
  std::string text;
  size_t used = 0;
  size_t chunk = kFirstChunk;
  for (;;) {
    // One byte more than the cap is asked for, to tell "exactly full" from "too long".
    size_t left = max_bytes - used;
    size_t room = left >= chunk ? chunk : left + 1;
    text.resize(used + room);
    ssize_t n = ::read(fd, text.data() + used, room);
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, "read");
    }
    used += static_cast<size_t>(n);
    if (n == 0) break;
    if (used > max_bytes) return ResourceExhausted("read: more than " + std::to_string(max_bytes) + " bytes");
    chunk = std::min(chunk * 2, kLargestChunk);
  }
  text.resize(used);
  return text;
}

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_RDONLY));
  ASSIGN_OR_RETURN_WITH(std::string text, ReadAll(fd.get(), max_bytes), path);
  return text;
}

Status WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, "write");
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Status WriteValue(const std::string& path, std::string_view value) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_WRONLY));
  for (;;) {
    ssize_t n = ::write(fd.get(), value.data(), value.size());
    if (n == static_cast<ssize_t>(value.size())) return {};
    if (n < 0 && errno == EINTR) continue;
    std::string what = "write \"" + Printable(Trim(value), 64) + "\" to " + path;
    if (n < 0) return ErrnoError(errno, what);
    return Internal(what + ": only " + std::to_string(n) + " bytes taken");
  }
}

}  // namespace davit::sys
