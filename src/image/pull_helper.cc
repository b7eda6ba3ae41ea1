#include "image/pull_helper.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>

#include "base/strings.h"

namespace davit::image {
namespace {

constexpr size_t kMaxLastWords = 4096;

// What libcurl and OpenSSL read; nothing else of the daemon's environment is the helper's business.
std::vector<std::string> HelperEnvironment() {
  std::vector<std::string> env = sys::MinimalEnvironment();
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
                           "SSL_CERT_FILE", "SSL_CERT_DIR"}) {
    if (const char* value = std::getenv(name)) env.push_back(fmt::format("{}={}", name, value));
  }
  // libcurl does not look at the capitals, for the sake of CGI programs; Go's programs and systemd units have them.
  const char* capitals = std::getenv("HTTP_PROXY");
  if (capitals != nullptr && std::getenv("http_proxy") == nullptr)
    env.push_back(fmt::format("http_proxy={}", capitals));
  return env;
}

Status SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "write to davit-pull");
    data.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<PullHelper>> PullHelper::Start(const std::string& path, const PullJob& job) {
  std::unique_ptr<PullHelper> helper(new PullHelper());
  ASSIGN_OR_RETURN(auto input, sys::MakeSocketPair(SOCK_STREAM));
  ASSIGN_OR_RETURN(sys::Pipe output, sys::MakePipe());
  ASSIGN_OR_RETURN(sys::Pipe errors, sys::MakePipe());
  sys::SpawnOptions options;
  options.argv = {path};
  options.env = HelperEnvironment();
  options.cwd = "/";
  options.fds = {{input.second.get(), 0}, {output.write.get(), 1}, {errors.write.get(), 2}};
  options.new_session = true;
  ASSIGN_OR_RETURN(helper->process_, sys::Spawn(options));
  helper->to_ = std::move(input.first);
  helper->from_ = std::move(output.read);
  helper->errors_ = std::move(errors.read);
  RETURN_IF_ERROR(sys::SetNonBlocking(helper->from_.get(), true));
  RETURN_IF_ERROR(sys::SetNonBlocking(helper->errors_.get(), true));
  input.second.reset();
  output.write.reset();
  errors.write.reset();
  // A helper that dies here has said why on its output; Wait finds that.
  IgnoreError(SendAll(helper->to_.get(), EncodeJob(job)));
  return helper;
}

PullHelper::~PullHelper() {
  if (!process_.valid() || reaped_) return;
  to_.reset();
  IgnoreError(process_.Signal(SIGKILL));
  IgnoreError(process_.Reap(Deadline::After(std::chrono::seconds(10))).status());
}

Status PullHelper::Send(const PullCommand& command) { return SendAll(to_.get(), EncodeCommand(command)); }

void PullHelper::ReadErrors() {
  std::array<char, 1024> piece{};
  while (errors_.valid()) {
    ssize_t n = ::read(errors_.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    if (n == 0) {
      errors_.reset();
      return;
    }
    last_words_.append(piece.data(), static_cast<size_t>(n));
    if (last_words_.size() > kMaxLastWords) last_words_.erase(0, last_words_.size() - kMaxLastWords);
  }
}

Result<bool> PullHelper::ReadOutput() {
  std::array<char, 65536> piece{};  // NOLINT: filled by read
  while (true) {
    ssize_t n = ::read(from_.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0) return ErrnoError(errno, "read from davit-pull");
    if (n == 0) return false;
    size_t scan = buffer_.size();
    buffer_.append(piece.data(), static_cast<size_t>(n));
    for (size_t end; (end = buffer_.find('\n', scan)) != std::string::npos; scan = 0) {
      lines_.push_back(buffer_.substr(0, end));
      buffer_.erase(0, end + 1);
    }
    if (buffer_.size() > kMaxPullEventBytes) return ResourceExhausted("davit-pull sent a line of more than 32 MiB");
    if (!lines_.empty()) return true;
  }
}

Status PullHelper::Ended() {
  Result<sys::ExitStatus> exit = process_.Reap(Deadline::After(std::chrono::seconds(5)));
  ReadErrors();
  if (!exit.ok()) return exit.status().Annotate("davit-pull closed its output and goes on running");
  reaped_ = true;
  std::string_view text = Trim(last_words_);
  std::string said(text.substr(text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n') + 1));
  if (!said.empty()) said = ": " + Printable(said, 512);
  if (exit->signal == SIGKILL) return Unavailable("davit-pull was killed (out of memory?)" + said);
  if (exit->signal != 0) return Internal(fmt::format("davit-pull crashed with signal {}{}", exit->signal, said));
  return Internal(fmt::format("davit-pull ended with status {} before it was done{}", exit->code, said));
}

Result<PullHelper::Wake> PullHelper::Wait(int cancel_fd, int notify_fd, Deadline deadline) {
  // Looks at all of them each time: a helper that never stops talking must not hide a cancellation.
  while (true) {
    std::array<pollfd, 4> polls = {
        {{from_.get(), POLLIN, 0}, {errors_.get(), POLLIN, 0}, {cancel_fd, POLLIN, 0}, {notify_fd, POLLIN, 0}}};
    int n = ::poll(polls.data(), polls.size(), lines_.empty() ? deadline.PollTimeoutMs() : 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "poll");
    if (polls[2].revents != 0) return Wake::kCancelled;
    if (deadline.expired()) return Wake::kDeadline;
    if (polls[1].revents != 0) ReadErrors();
    if (polls[0].revents != 0 && lines_.empty()) {
      ASSIGN_OR_RETURN(bool more, ReadOutput());
      if (!more && lines_.empty()) return Ended();
    }
    if (!lines_.empty()) return Wake::kEvent;
    if (polls[3].revents != 0) return Wake::kNotified;
  }
}

Result<PullEvent> PullHelper::Take() {
  if (lines_.empty()) return Internal("no event");
  std::string line = std::move(lines_.front());
  lines_.pop_front();
  Result<PullEvent> event = DecodeEvent(line);
  if (!event.ok()) return event.status().Annotate("message of davit-pull");
  return event;
}

Status PullHelper::Finish(Deadline deadline) {
  ASSIGN_OR_RETURN(sys::ExitStatus exit, process_.Reap(deadline));
  reaped_ = true;
  if (exit.code != 0) return Internal(fmt::format("davit-pull ended with status {}", exit.code));
  return {};
}

}  // namespace davit::image
