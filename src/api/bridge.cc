#include "api/bridge.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/log.h"
#include "base/strings.h"

namespace davit::api {
namespace {

constexpr size_t kChunk = 32 * 1024;
constexpr size_t kUpstreamHigh = 256 * 1024;  // the client's input waits while so much is unsent
constexpr size_t kMaxStatus = 64 * 1024;

}  // namespace

std::string Frame(unsigned char stream, std::string_view payload) {
  auto size = static_cast<uint32_t>(payload.size());
  std::string out = {static_cast<char>(stream),
                     0,
                     0,
                     0,
                     static_cast<char>(size >> 24),
                     static_cast<char>(size >> 16),
                     static_cast<char>(size >> 8),
                     static_cast<char>(size)};
  out += payload;
  return out;
}

Result<std::string> ParseDetachKeys(std::string_view text) {
  std::string out;
  if (text.empty()) return out;
  for (const std::string& key : Split(text, ',')) {
    if (key.size() == 1) {
      out += key;
    } else if (key.size() == 6 && key.starts_with("ctrl-") && key[5] >= 'a' && key[5] <= 'z') {
      out += static_cast<char>(key[5] - 'a' + 1);
    } else if (key.size() == 6 && key.starts_with("ctrl-") && key[5] >= '@' && key[5] <= '_') {
      out += static_cast<char>(key[5] - '@');
    } else {
      return InvalidArgument(fmt::format("detach keys: \"{}\" is neither a letter nor ctrl-X", Printable(key)));
    }
  }
  return out;
}

std::string DetachScanner::Filter(std::string_view bytes) {
  if (keys_.empty()) return std::string(bytes);
  std::string out;
  for (char c : bytes) {
    if (found_) break;
    if (c == keys_[matched_]) {
      found_ = ++matched_ == keys_.size();
      continue;
    }
    // What was held back was none of the sequence after all; this byte may begin it anew.
    out.append(keys_, 0, matched_);
    matched_ = 0;
    if (c == keys_[0]) {
      found_ = ++matched_ == keys_.size();
    } else {
      out += c;
    }
  }
  return out;
}

Bridge::Bridge(sched::EventLoop& loop, ExchangePtr exchange, client::Upgraded upgraded, BridgeOptions options)
    : loop_(loop),
      exchange_(std::move(exchange)),
      fd_(std::move(upgraded.fd)),
      version_(upgraded.protocol.size() > 1 ? upgraded.protocol[1] - '0' : 4),
      early_(std::move(upgraded.early)),
      options_(std::move(options)),
      decoder_(*this, false),
      keys_(options_.tty ? options_.detach_keys : std::string()) {}

void Bridge::Start(std::string_view content_type) {
  auto self = shared_from_this();
  exchange_->Hijack(
      content_type, [self](std::string_view bytes) { self->FromClient(bytes); },
      [self] {
        // v4 cannot say that stdin has ended; the session then ends with the process.
        if (self->options_.in && self->version_ >= 5) {
          self->SendUpstream(client::kClose, std::string(1, static_cast<char>(client::kStdin)));
        }
      });
  std::weak_ptr<Bridge> weak = self;
  exchange_->OnClosed([weak] {
    if (auto bridge = weak.lock()) bridge->loop_.Post([bridge] { bridge->End(true); });
  });
  loop_.Post([self] { self->Begin(); });
}

void Bridge::StartDetached() {
  loop_.Post([self = shared_from_this()] { self->Begin(); });
}

void Bridge::Begin() {
  if (over_) return;
  if (Status status = sys::SetNonBlocking(fd_.get(), true); !status.ok()) return End(false);
  auto self = shared_from_this();
  Result<sched::EventLoop::Token> watch = loop_.Watch(fd_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                                      [self](uint32_t events) { self->OnEvents(events); });
  if (!watch.ok()) {
    LogWarning("stream: {}", watch.status().message());
    return End(false);
  }
  watch_ = *watch;
  std::string early;
  early.swap(early_);
  if (!early.empty() && !decoder_.Decode(early).ok()) return End(false);
  if (closing_) return End(false);
  FlushUpstream();
  ReadUpstream();
}

void Bridge::OnEvents(uint32_t events) {
  auto self = shared_from_this();
  if ((events & EPOLLOUT) != 0) FlushUpstream();
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ReadUpstream();
}

void Bridge::ReadUpstream() {
  thread_local std::string buffer(kChunk, '\0');
  while (!over_ && !paused_) {
    ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) return End(false);  // a reset after the status is an end like any other
    if (!decoder_.Decode(std::string_view(buffer).substr(0, static_cast<size_t>(n))).ok() || closing_)
      return End(false);
    if (exchange_ && exchange_->unsent() > Exchange::kHigh) {
      paused_ = true;
      std::weak_ptr<Bridge> weak = weak_from_this();
      exchange_->OnDrained([weak] {
        if (auto bridge = weak.lock()) {
          bridge->paused_ = false;
          bridge->ReadUpstream();
        }
      });
    }
  }
}

void Bridge::FromClient(std::string_view bytes) {
  if (over_ || !options_.in) return;
  std::string kept = keys_.Filter(bytes);
  if (!kept.empty()) SendUpstream(client::kStdin, kept);
  if (keys_.found()) End(true);
}

void Bridge::SendUpstream(unsigned char channel, std::string_view payload) {
  if (over_) return;
  std::string message(1, static_cast<char>(channel));
  message += payload;
  SendFrame(http::WebSocketOpcode::kBinary, message);
}

void Bridge::SendFrame(http::WebSocketOpcode opcode, std::string_view payload) {
  out_ += http::WebSocketFrame(opcode, payload, client::WebSocketMask());
  if (watch_ != 0) FlushUpstream();
}

void Bridge::FlushUpstream() {
  if (over_) return;
  size_t at = 0;
  while (at < out_.size()) {
    ssize_t n = ::send(fd_.get(), out_.data() + at, out_.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) at = out_.size();  // the peer has gone: reading will say so
    if (n <= 0) break;
    at += static_cast<size_t>(n);
  }
  out_.erase(0, at);
  bool full = out_.size() > kUpstreamHigh;
  if (exchange_ && full != input_paused_) {
    input_paused_ = full;
    exchange_->PauseInput(full);
  }
}

void Bridge::Resize(int rows, int columns) {
  loop_.Post([self = shared_from_this(), rows, columns] {
    self->SendUpstream(client::kResize, fmt::format(R"({{"Width":{},"Height":{}}})", columns, rows));
  });
}

void Bridge::OnMessagePiece(bool, std::string_view bytes, bool first, bool) {
  if (first) {
    channel_ = bytes.empty() ? static_cast<unsigned char>(client::kClose) : static_cast<unsigned char>(bytes.front());
    if (!bytes.empty()) bytes.remove_prefix(1);
  }
  if (bytes.empty()) return;
  if (channel_ == client::kError && status_.size() + bytes.size() <= kMaxStatus) status_ += bytes;
  bool wanted = (channel_ == client::kStdout && options_.out) || (channel_ == client::kStderr && options_.err);
  if (!wanted || !exchange_) return;
  exchange_->Write(options_.tty ? std::string(bytes) : Frame(channel_, bytes));
}

void Bridge::OnPingFrame(std::string_view payload) { SendFrame(http::WebSocketOpcode::kPong, payload); }

void Bridge::OnCloseFrame(uint16_t) {
  SendFrame(http::WebSocketOpcode::kClose, std::string("\x03\xe8", 2));  // 1000: normal
  closing_ = true;
}

void Bridge::End(bool client_left) {
  if (over_) return;
  over_ = true;
  auto self = shared_from_this();
  if (watch_ != 0) loop_.Remove(watch_);
  fd_.reset();
  Result<int> code = Cancelled("the client left");
  if (!client_left)
    code = status_.empty() ? Result<int>(Unavailable("the stream ended")) : client::ParseEndStatus(status_);
  if (!client_left && !code.ok() && exchange_ && !status_.empty()) {
    // Why there was nothing to run: where its output would have stood.
    std::string text = code.status().message() + (options_.tty ? "\r\n" : "\n");
    exchange_->Write(options_.tty ? text : Frame(2, text));
  }
  if (options_.on_end) options_.on_end(code);
  options_.on_end = nullptr;
  if (exchange_) exchange_->End();
  exchange_.reset();
}

void Bridges::Add(const std::string& key, const std::shared_ptr<Bridge>& bridge) {
  std::lock_guard lock(mutex_);
  std::erase_if(bridges_, [](const auto& entry) { return entry.second.expired(); });
  bridges_.emplace(key, bridge);
}

bool Bridges::Resize(const std::string& key, int rows, int columns) {
  std::vector<std::shared_ptr<Bridge>> found;
  {
    std::lock_guard lock(mutex_);
    auto [begin, end] = bridges_.equal_range(key);
    for (auto it = begin; it != end; ++it) {
      if (auto bridge = it->second.lock()) found.push_back(std::move(bridge));
    }
  }
  for (const auto& bridge : found) bridge->Resize(rows, columns);
  return !found.empty();
}

}  // namespace davit::api
