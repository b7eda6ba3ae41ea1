#include "api/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/strings.h"

namespace davit::api {
namespace {

constexpr size_t kMaxHead = 64 * 1024;  // docker puts credentials into headers
constexpr size_t kReadChunk = 64 * 1024;
constexpr size_t kMaxPipelined = 64 * 1024;  // taken while an answer is on its way
constexpr std::chrono::seconds kHeadLimit{30};
constexpr std::chrono::seconds kIdleLimit{180};
constexpr std::chrono::seconds kBodyLimit{120};  // without a byte
constexpr std::chrono::seconds kDrainLimit{5};
constexpr std::chrono::minutes kTakeLimit{5};  // a client that takes nothing keeps no thread longer

}  // namespace

Status Connection::Start() {
  Touch(kHeadLimit);
  auto self = shared_from_this();
  ASSIGN_OR_RETURN(watch_, owner_->loop->Watch(fd_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                               [self](uint32_t events) { self->OnEvents(events); }));
  return {};
}

void Connection::OnEvents(uint32_t events) {
  if (mode_ == Mode::kGone) return;
  if ((events & EPOLLOUT) != 0) Flush();
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ReadSome();
  // Both directions are shut: whoever still writes here has lost its reader.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0 && mode_ != Mode::kGone) Drop();
}

void Connection::ReadSome() {
  thread_local std::string buffer(kReadChunk, '\0');
  while (mode_ != Mode::kGone && !eof_ && !input_paused_) {
    if (mode_ == Mode::kBusy && in_.size() > kMaxPipelined) return;  // Ended reads on
    ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) return Drop();
    if (n == 0) {
      eof_ = true;
      break;
    }
    if (mode_ == Mode::kDrain) continue;
    in_.append(buffer.data(), static_cast<size_t>(n));
    Process();
  }
  if (eof_ && mode_ != Mode::kGone) Process();
}

void Connection::Process() {
  bool more = true;
  while (more) {
    switch (mode_) {
      case Mode::kHead:
        more = TakeHead();
        break;
      case Mode::kBody:
        more = TakeBody();
        break;
      case Mode::kRaw: {
        if (!in_.empty() && on_data_) {
          std::string bytes;
          bytes.swap(in_);
          auto data = on_data_;
          data(bytes);
        }
        if (eof_ && in_.empty() && !eof_told_ && mode_ == Mode::kRaw) {
          eof_told_ = true;
          if (auto eof = std::move(on_eof_)) eof();
        }
        more = false;
        break;
      }
      case Mode::kBusy:
        // A client that closes while it waits has lost interest.
        if (eof_ && in_.empty() && !eof_told_) {
          eof_told_ = true;
          std::function<void()> callback;
          {
            std::lock_guard lock(mutex_);
            callback.swap(on_closed_);
          }
          if (callback) callback();
        }
        more = false;
        break;
      case Mode::kDrain:
        if (eof_) Drop();
        more = false;
        break;
      case Mode::kGone:
        more = false;
        break;
    }
  }
  if (in_.empty() && in_.capacity() > kReadChunk / 4) std::string().swap(in_);
}

bool Connection::TakeHead() {
  while (in_.starts_with("\r\n")) in_.erase(0, 2);  // RFC 9112 section 2.2
  if (in_.empty()) {
    if (eof_) Drop();
    return false;
  }
  Result<std::optional<http::RequestHead>> head = http::ParseRequestHead(in_, kMaxHead);
  if (!head.ok()) {
    Refuse(head.code() == StatusCode::kResourceExhausted ? 431 : 400, head.status().message());
    return false;
  }
  if (!*head) {
    if (eof_) {
      Drop();
    } else {
      Touch(kHeadLimit);
    }
    return false;
  }
  in_.erase(0, (*head)->bytes);
  keep_alive_ = !(*head)->HasToken("connection", "close");
  chunked_.reset();
  body_left_ = 0;
  std::string_view coding = (*head)->Header("transfer-encoding");
  std::string_view length = (*head)->Header("content-length");
  if (!coding.empty()) {
    // Both would let two readers see two different requests (RFC 9112 section 6.3).
    if (!length.empty() || !http::EqualsIgnoreCase(coding, "chunked")) {
      Refuse(400, "the body's length is not well formed");
      return false;
    }
    chunked_.emplace();
  } else if (!length.empty()) {
    auto number = ParseUint64(length);
    if (!number) {
      Refuse(400, "Content-Length is not well formed");
      return false;
    }
    body_left_ = *number;
  }
  bool body = chunked_ || body_left_ > 0;
  bool expects = body && (*head)->HasToken("expect", "100-continue");
  plan_ = owner_->plan(shared_from_this(), std::move(**head));
  if (!plan_.stream_body && !chunked_ && body_left_ > owner_->max_body) {
    Refuse(413, "the request's body is longer than " + std::to_string(owner_->max_body) + " bytes");
    return false;
  }
  if (expects) SendBytes("HTTP/1.1 100 Continue\r\n\r\n");
  if (plan_.stream_body) {
    pipe_ = std::make_shared<BodyPipe>();
    dispatched_ = true;
    mode_ = Mode::kBody;
    plan_.run({}, pipe_);
    if (mode_ != Mode::kBody) return true;
    if (!body) BodyDone();
    Touch(kBodyLimit);
    return true;
  }
  mode_ = Mode::kBody;
  Touch(kBodyLimit);
  if (!body) BodyDone();
  return true;
}

bool Connection::TakeBody() {
  std::string piece;
  bool done = false;
  if (chunked_) {
    std::string_view view = in_;
    Status status = chunked_->Decode(view, piece);
    in_.erase(0, in_.size() - view.size());
    if (!status.ok()) {
      Refuse(400, status.message());
      return false;
    }
    done = chunked_->done();
  } else {
    auto take = static_cast<size_t>(std::min<uint64_t>(body_left_, in_.size()));
    piece = in_.substr(0, take);
    in_.erase(0, take);
    body_left_ -= take;
    done = body_left_ == 0;
  }
  if (!piece.empty()) {
    Touch(kBodyLimit);
    if (pipe_) {
      std::weak_ptr<Connection> self = weak_from_this();
      sched::EventLoop* loop = owner_->loop;
      bool room = pipe_->Push(std::move(piece), [self, loop] {
        loop->Post([self] {
          if (auto connection = self.lock()) {
            connection->input_paused_ = false;
            connection->ReadSome();
          }
        });
      });
      if (!room) {
        input_paused_ = true;
        due_.reset();  // it is us who are slow
      }
    } else {
      body_ += piece;
      if (body_.size() > owner_->max_body) {
        Refuse(413, "the request's body is longer than " + std::to_string(owner_->max_body) + " bytes");
        return false;
      }
    }
  }
  if (done) {
    BodyDone();
    return true;
  }
  if (eof_ && in_.empty()) Drop();
  return false;
}

void Connection::BodyDone() {
  due_.reset();
  chunked_.reset();
  body_left_ = 0;
  mode_ = Mode::kBusy;
  if (pipe_) {
    pipe_->Finish();
    pipe_.reset();
    return;
  }
  dispatched_ = true;
  std::string body;
  body.swap(body_);
  auto run = std::move(plan_.run);
  plan_ = Plan();
  run(std::move(body), nullptr);
}

void Connection::Refuse(int code, std::string_view text) {
  keep_alive_ = false;
  if (pipe_) {
    pipe_->Abort();
    pipe_.reset();
  } else {
    SendBytes(http::ErrorResponse(code, text));
  }
  plan_ = Plan();
  DrainThenClose();
}

void Connection::FinishExchange(bool keep) {
  owner_->loop->Post([self = shared_from_this(), keep] { self->Ended(keep); });
}

void Connection::Ended(bool keep) {
  if (mode_ == Mode::kGone || mode_ == Mode::kDrain) return;
  {
    std::lock_guard lock(mutex_);
    on_closed_ = nullptr;
    on_drained_ = nullptr;
  }
  dispatched_ = false;
  on_data_ = nullptr;
  on_eof_ = nullptr;
  if (pipe_) {  // answered before its body was read: what follows is no request
    pipe_.reset();
    keep = false;
  }
  plan_ = Plan();
  if (!keep || !keep_alive_ || mode_ != Mode::kBusy || eof_) return DrainThenClose();
  mode_ = Mode::kHead;
  Touch(kIdleLimit);
  input_paused_ = false;
  Process();
  ReadSome();
}

void Connection::DrainThenClose() {
  mode_ = Mode::kDrain;
  input_paused_ = false;
  in_.clear();
  Touch(kDrainLimit);
  {
    std::lock_guard lock(mutex_);
    end_after_flush_ = true;
  }
  Flush();
  if (mode_ == Mode::kDrain) ReadSome();
}

void Connection::Hijack(std::function<void(std::string_view)> data, std::function<void()> eof) {
  owner_->loop->Post(
      [self = shared_from_this(), data = std::move(data), eof = std::move(eof)] { self->StartHijack(data, eof); });
}

void Connection::StartHijack(std::function<void(std::string_view)> data, std::function<void()> eof) {
  if (mode_ != Mode::kBusy) return;
  mode_ = Mode::kRaw;
  eof_told_ = false;
  on_data_ = std::move(data);
  on_eof_ = std::move(eof);
  Process();
  if (mode_ == Mode::kRaw) ReadSome();
}

void Connection::PauseInput(bool paused) {
  owner_->loop->Post([self = shared_from_this(), paused] {
    if (self->mode_ != Mode::kRaw || self->input_paused_ == paused) return;
    self->input_paused_ = paused;
    if (!paused) self->ReadSome();
  });
}

bool Connection::SendBytes(std::string bytes) {
  std::lock_guard lock(mutex_);
  if (closed_) return false;
  if (out_.empty()) {
    // The common case: the socket takes all of it now.
    size_t at = 0;
    while (at < bytes.size()) {
      ssize_t n = ::send(fd_.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;  // a dead peer shows as an event
      at += static_cast<size_t>(n);
    }
    if (at == bytes.size()) return true;
    out_ = std::move(bytes);
    out_at_ = at;
    return true;
  }
  out_ += bytes;
  return true;
}

void Connection::Flush() {
  std::function<void()> drained;
  bool end = false;
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    while (out_at_ < out_.size()) {
      ssize_t n = ::send(fd_.get(), out_.data() + out_at_, out_.size() - out_at_, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      out_at_ += static_cast<size_t>(n);
    }
    if (out_at_ == out_.size()) {
      std::string().swap(out_);
      out_at_ = 0;
      drained.swap(on_drained_);
      end = end_after_flush_;
      end_after_flush_ = false;
      if (end) ::shutdown(fd_.get(), SHUT_WR);
    } else if (out_at_ > (1u << 20)) {
      out_.erase(0, out_at_);
      out_at_ = 0;
    }
  }
  sent_.notify_all();
  if (drained) drained();
}

bool Connection::WaitUnsentBelow(size_t bytes) {
  std::unique_lock lock(mutex_);
  if (!sent_.wait_for(lock, kTakeLimit, [&] { return closed_ || out_.size() - out_at_ < bytes; })) {
    owner_->loop->Post([self = shared_from_this()] { self->Drop(); });
    return false;
  }
  return !closed_;
}

size_t Connection::Unsent() const {
  std::lock_guard lock(mutex_);
  return out_.size() - out_at_;
}

void Connection::OnDrained(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_ && !out_.empty()) {
      on_drained_ = std::move(callback);
      return;
    }
  }
  owner_->loop->Post(std::move(callback));
}

void Connection::OnClosed(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_) {
      on_closed_ = std::move(callback);
      callback = nullptr;
    }
  }
  if (callback) return callback();
  // The client may have closed before anybody asked: Process tells it again.
  owner_->loop->Post([self = shared_from_this()] {
    self->eof_told_ = self->mode_ == Mode::kBusy ? false : self->eof_told_;
    self->Process();
  });
}

bool Connection::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

void Connection::Drop() {
  if (mode_ == Mode::kGone) return;
  mode_ = Mode::kGone;
  auto self = shared_from_this();
  owner_->loop->Remove(watch_);
  std::function<void()> closed;
  std::function<void()> drained;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    fd_.reset();
    std::string().swap(out_);
    out_at_ = 0;
    closed.swap(on_closed_);
    drained.swap(on_drained_);
  }
  sent_.notify_all();
  if (pipe_) pipe_->Abort();
  pipe_.reset();
  on_data_ = nullptr;
  on_eof_ = nullptr;
  plan_ = Plan();
  in_.clear();
  owner_->gone(self);
  if (closed) closed();
}

void Connection::Sweep(Clock::time_point now) {
  if (due_ && *due_ <= now && mode_ != Mode::kBusy && mode_ != Mode::kRaw) Drop();
}

}  // namespace davit::api
