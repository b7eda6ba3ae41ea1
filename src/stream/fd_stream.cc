#include "stream/fd_stream.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace davit::stream {
namespace {

constexpr size_t kReadBytes = 32 * 1024;
constexpr size_t kCompactBytes = 64 * 1024;  // written bytes at the buffer's front are dropped in such steps

}  // namespace

std::shared_ptr<FdStream> FdStream::Create(sched::EventLoop& loop, sys::UniqueFd fd, Events events) {
  return std::shared_ptr<FdStream>(new FdStream(loop, std::move(fd), std::move(events)));
}

FdStream::FdStream(sched::EventLoop& loop, sys::UniqueFd fd, Events events)
    : loop_(loop), fd_(std::move(fd)), events_(std::move(events)) {
  // A failure shows as a read or write that fails.
  IgnoreError(sys::SetNonBlocking(fd_.get(), true));
  struct stat info {};
  is_socket_ = ::fstat(fd_.get(), &info) == 0 && S_ISSOCK(info.st_mode);
}

FdStream::~FdStream() { Close(); }

void FdStream::SetReading(bool on) {
  reading_ = on;
  UpdateWatch();
}

void FdStream::Write(std::string_view bytes) {
  if (closed() || write_ending_ || write_ended_ || bytes.empty()) return;
  // A callback of what is written here at once may be what drops the owner's last reference.
  auto keep = shared_from_this();
  bool idle = buffered() == 0;
  buffer_ += bytes;
  if (idle) Flush();
}

void FdStream::EndWriting() {
  if (closed() || write_ending_) return;
  write_ending_ = true;
  if (buffered() == 0) FinishWriting();
}

void FdStream::Close() {
  if (closed()) return;
  // Before the descriptor: its number may be another file's the moment it is closed.
  if (token_ != 0) loop_.Remove(token_);
  token_ = 0;
  watched_ = 0;
  buffer_ = std::string();
  sent_ = 0;
  fd_.reset();
}

bool FdStream::Readable() const {
  if (closed() || read_ended_) return false;
  pollfd poll{fd_.get(), POLLIN, 0};
  return ::poll(&poll, 1, 0) > 0;
}

void FdStream::UpdateWatch() {
  if (closed()) return;
  uint32_t wanted = 0;
  if (reading_ && !read_ended_) wanted |= EPOLLIN;
  if (!reading_ && !read_ended_ && events_.hangup) wanted |= EPOLLRDHUP;
  if (buffered() > 0) wanted |= EPOLLOUT;
  if (wanted == watched_) return;
  if (token_ != 0) loop_.Remove(token_);
  token_ = 0;
  watched_ = 0;
  if (wanted == 0) return;  // not even EPOLLHUP, which would fire without end
  auto token = loop_.Watch(fd_.get(), wanted, [weak = weak_from_this()](uint32_t ready) {
    if (auto self = weak.lock()) self->OnReady(ready);
  });
  if (token.ok()) {
    token_ = *token;
    watched_ = wanted;
    return;
  }
  // Not a descriptor that epoll takes, or out of memory. Reported from the loop, since callers of
  // SetReading and Write do not expect a callback in between.
  loop_.Post([weak = weak_from_this(), error = token.status()] {
    auto self = weak.lock();
    if (!self || self->closed() || self->read_ended_) return;
    self->read_ended_ = true;
    if (self->events_.end) self->events_.end(error);
  });
}

void FdStream::OnReady(uint32_t ready) {
  constexpr uint32_t kGone = EPOLLERR | EPOLLHUP;
  if ((watched_ & EPOLLOUT) != 0 && (ready & (EPOLLOUT | kGone)) != 0) Flush();
  if (closed() || read_ended_) return;
  if (reading_) {
    if ((ready & (EPOLLIN | EPOLLRDHUP | kGone)) != 0) ReadOnce();
  } else if (events_.hangup && (ready & (EPOLLRDHUP | kGone)) != 0) {
    read_ended_ = true;
    UpdateWatch();
    events_.hangup();
  }
}

void FdStream::ReadOnce() {
  std::array<char, kReadBytes> bytes;
  ssize_t n = ::read(fd_.get(), bytes.data(), bytes.size());
  if (n > 0) {
    if (events_.data) events_.data(std::string_view(bytes.data(), static_cast<size_t>(n)));
    return;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  // A terminal's master says EIO once the last slave is closed: that is its end of file.
  Status why = n == 0 || errno == EIO ? Status() : ErrnoError(errno, "read");
  read_ended_ = true;
  UpdateWatch();
  if (events_.end) events_.end(why);
}

void FdStream::Flush() {
  size_t total = 0;
  int error = 0;
  while (buffered() > 0) {
    const char* from = buffer_.data() + sent_;
    ssize_t n = is_socket_ ? ::send(fd_.get(), from, buffered(), MSG_NOSIGNAL) : ::write(fd_.get(), from, buffered());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      error = errno;
      break;
    }
    sent_ += static_cast<size_t>(n);
    total += static_cast<size_t>(n);
  }
  if (buffered() == 0) {
    // Keeps a small allocation, gives a large one back.
    if (buffer_.capacity() > kCompactBytes) buffer_ = std::string();
    buffer_.clear();
    sent_ = 0;
  } else if (sent_ >= kCompactBytes) {
    buffer_.erase(0, sent_);
    sent_ = 0;
  }
  if (error != 0 && error != EAGAIN) {
    Break(error);
    return;
  }
  UpdateWatch();
  if (buffered() == 0 && write_ending_) FinishWriting();
  if (total > 0 && events_.written) events_.written(total);
}

void FdStream::FinishWriting() {
  if (write_ended_) return;
  write_ended_ = true;
  if (is_socket_) {
    ::shutdown(fd_.get(), SHUT_WR);
  } else {
    Close();
  }
}

void FdStream::Break(int error) {
  write_ended_ = true;
  buffer_ = std::string();
  sent_ = 0;
  UpdateWatch();
  if (events_.broken) events_.broken(ErrnoError(error, "write"));
}

}  // namespace davit::stream
