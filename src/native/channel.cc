#include "native/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/strings.h"

namespace davit::native {
namespace {

constexpr size_t kMaxNote = 8192;

Status ParseError(std::string_view text) {
  size_t blank = text.find(' ');
  std::optional<uint64_t> code = ParseUint64(text.substr(0, blank));
  if (!code || *code == 0 || *code > 16 || blank == std::string_view::npos) {
    return Internal("the new process sent an error without code: " + Printable(text, kMaxNote));
  }
  return {static_cast<StatusCode>(*code), std::string(text.substr(blank + 1))};
}

Status WaitReadable(int fd, Deadline deadline) {
  pollfd entry = {fd, POLLIN, 0};
  for (;;) {
    int n = ::poll(&entry, 1, deadline.PollTimeoutMs());
    if (n > 0) return {};
    if (n == 0 && deadline.expired()) return DeadlineExceeded("wait for the other process");
    if (n < 0 && errno != EINTR) return ErrnoError(errno, "poll");
  }
}

}  // namespace

Result<Channel> MakeChannel() {
  ASSIGN_OR_RETURN(auto ends, sys::MakeSocketPair(SOCK_SEQPACKET));
  return Channel{std::move(ends.first), std::move(ends.second)};
}

Status Send(int fd, Word word, std::string_view text) {
  std::string message(1, static_cast<char>(word));
  message += text.substr(0, kMaxNote - 1);
  ssize_t n = 0;
  do {
    n = ::send(fd, message.data(), message.size(), MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? ErrnoError(errno, "tell the other process") : Status();
}

Status SendError(int fd, const Status& error) {
  return Send(fd, Word::kError, std::to_string(static_cast<int>(error.code())) + " " + error.message());
}

Result<std::optional<Note>> Receive(int fd, Deadline deadline) {
  RETURN_IF_ERROR(WaitReadable(fd, deadline));
  std::string message(kMaxNote, '\0');
  ssize_t n = 0;
  do {
    n = ::recv(fd, message.data(), message.size(), 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno != ECONNRESET) return ErrnoError(errno, "hear from the other process");
  if (n <= 0) return std::optional<Note>();
  message.resize(static_cast<size_t>(n));
  Note note{static_cast<Word>(message[0]), message.substr(1)};
  if (note.word == Word::kError) return ParseError(note.text);
  return std::optional<Note>(std::move(note));
}

Result<std::string> Await(int fd, Word word, Deadline deadline) {
  ASSIGN_OR_RETURN(std::optional<Note> note, Receive(fd, deadline));
  if (!note) return FailedPrecondition("the other process has ended");
  if (note->word != word) return Internal(std::string("unexpected word '") + static_cast<char>(note->word) + "'");
  return std::move(note->text);
}

}  // namespace davit::native
