#include "cli/stream_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "http/websocket_frame.h"

namespace davit::cli {
namespace {

constexpr size_t kMaxStatus = 64 * 1024;
constexpr size_t kSendHigh = 256 * 1024;  // stdin waits while so much is unsent
constexpr size_t kChunk = 32 * 1024;

using client::kClose, client::kError, client::kResize, client::kStderr, client::kStdin, client::kStdout;
using client::WebSocketMask;
// The state of one running session.
class Pump final : private http::WebSocketVisitor {
 public:
  Pump(int fd, int version, const StreamOptions& options)
      : fd_(fd), version_(version), options_(options), decoder_(*this, false) {}

  Result<StreamResult> Run(std::string early) {
    RETURN_IF_ERROR(sys::SetNonBlocking(fd_, true));
    stdin_open_ = options_.stdin_fd >= 0;
    if (options_.terminal) SendSize();
    if (!early.empty()) RETURN_IF_ERROR(decoder_.Decode(early));
    while (!closed_ && !keys_.detached()) {
      RETURN_IF_ERROR(Step());
      RETURN_IF_ERROR(failed_);
    }
    if (keys_.detached()) return StreamResult{StreamEnd::kDetached, 0};
    if (status_.empty()) return StreamResult{StreamEnd::kClosed, 0};
    ASSIGN_OR_RETURN(int code, client::ParseEndStatus(status_));
    return StreamResult{StreamEnd::kStatus, code};
  }

 private:
  Status Step() {
    pollfd polled[3] = {{fd_, static_cast<short>(POLLIN | (out_.empty() ? 0 : POLLOUT)), 0},
                        {stdin_open_ && out_.size() < kSendHigh ? options_.stdin_fd : -1, POLLIN, 0},
                        {options_.signals != nullptr ? options_.signals->fd() : -1, POLLIN, 0}};
    if (::poll(polled, 3, -1) < 0) return errno == EINTR ? Status() : ErrnoError(errno, "poll");
    if (polled[2].revents != 0) TakeSignal();
    if (polled[1].revents != 0) RETURN_IF_ERROR(ReadStdin());
    if ((polled[0].revents & POLLOUT) != 0) Flush();
    if ((polled[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) return Receive();
    return {};
  }

  void TakeSignal() {
    int signal = options_.signals->Take();
    if (signal == SIGWINCH && options_.terminal) SendSize();
    if (signal != 0 && signal != SIGWINCH && options_.on_signal) options_.on_signal(signal);
  }

  Status Receive() {
    std::string bytes(kChunk, '\0');
    ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (n <= 0) {
      closed_ = true;  // a reset after the status is an end like any other
      return {};
    }
    bytes.resize(static_cast<size_t>(n));
    return decoder_.Decode(bytes);
  }

  Status ReadStdin() {
    std::string bytes(kChunk, '\0');
    ssize_t n = ::read(options_.stdin_fd, bytes.data(), bytes.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR ? Status() : ErrnoError(errno, "read standard input");
    if (n == 0) {
      stdin_open_ = false;
      // v4 cannot say that stdin has ended; the session then ends with the process.
      if (version_ >= 5) Send(kClose, std::string(1, static_cast<char>(kStdin)));
      return {};
    }
    bytes.resize(static_cast<size_t>(n));
    if (options_.terminal) bytes = keys_.Filter(bytes);
    if (!bytes.empty()) Send(kStdin, bytes);
    return {};
  }

  void SendSize() {
    int fd = options_.stdout_fd >= 0 ? options_.stdout_fd : options_.stdin_fd;
    if (auto size = SizeOf(fd)) Send(kResize, fmt::format(R"({{"Width":{},"Height":{}}})", size->columns, size->rows));
  }

  void Send(unsigned char channel, std::string_view payload) {
    std::string message(1, static_cast<char>(channel));
    message += payload;
    SendFrame(http::WebSocketOpcode::kBinary, message);
  }
  void SendFrame(http::WebSocketOpcode opcode, std::string_view payload) {
    out_ += http::WebSocketFrame(opcode, payload, WebSocketMask());
    Flush();
  }
  void Flush() {
    while (!out_.empty()) {
      ssize_t n = ::send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) out_.clear();  // the peer has gone: reading will say so
      if (n <= 0) return;
      out_.erase(0, static_cast<size_t>(n));
    }
  }

  void OnMessagePiece(bool, std::string_view bytes, bool first, bool) override {
    if (first && !bytes.empty()) {
      channel_ = static_cast<unsigned char>(bytes.front());
      bytes.remove_prefix(1);
    } else if (first) {
      channel_ = kClose;
    }
    int fd = channel_ == kStdout ? options_.stdout_fd : channel_ == kStderr ? options_.stderr_fd : -1;
    if (fd >= 0 && !bytes.empty() && failed_.ok()) failed_ = sys::WriteAll(fd, bytes).Annotate("write output");
    if (channel_ == kError && status_.size() + bytes.size() <= kMaxStatus) status_ += bytes;
  }
  void OnPingFrame(std::string_view payload) override { SendFrame(http::WebSocketOpcode::kPong, payload); }
  void OnCloseFrame(uint16_t) override {
    SendFrame(http::WebSocketOpcode::kClose, std::string("\x03\xe8", 2));  // 1000: normal
    closed_ = true;
  }

  const int fd_;
  const int version_;
  const StreamOptions& options_;
  http::WebSocketDecoder decoder_;
  DetachKeys keys_;
  std::string out_;
  std::string status_;
  Status failed_;
  unsigned char channel_ = kClose;
  bool stdin_open_ = false;
  bool closed_ = false;
};

}  // namespace

StreamOptions OwnStreams(bool interactive, bool terminal, Signals& signals) {
  StreamOptions out;
  out.stdin_fd = interactive ? STDIN_FILENO : -1;
  out.stdout_fd = STDOUT_FILENO;
  out.stderr_fd = terminal ? -1 : STDERR_FILENO;  // a terminal has one stream
  out.terminal = terminal;
  out.signals = &signals;
  return out;
}

Result<StreamClient> StreamClient::Connect(const std::string& url) {
  ASSIGN_OR_RETURN(client::Upgraded upgraded, client::OpenWebSocket(url, "v5.channel.k8s.io, v4.channel.k8s.io"));
  return StreamClient(std::move(upgraded.fd), upgraded.protocol[1] - '0', std::move(upgraded.early));
}

Result<StreamResult> StreamClient::Run(const StreamOptions& options) {
  std::optional<RawMode> raw;
  if (options.terminal && options.stdin_fd >= 0 && ::isatty(options.stdin_fd) == 1) {
    ASSIGN_OR_RETURN(RawMode mode, RawMode::Enter(options.stdin_fd));
    raw.emplace(std::move(mode));
  }
  Pump pump(fd_.get(), version_, options);
  return pump.Run(std::move(early_));
}

}  // namespace davit::cli
