// Channel: what the caller and the new process tell each other until the program runs.
//
// A pair of SOCK_SEQPACKET sockets, so that a message is whole or not there. A message is one letter and text; there
// are no lengths or nested parts to get wrong (CVE-2021-43784 class). The child's end is close-on-exec: that it closes
// is the news that the program runs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::native {

enum class Word : char {
  kError = 'e',      // child: code and text of a Status
  kPid = 'p',        // the process in between: the pid of the real one
  kMap = 'm',        // child: in a new user namespace, wants its ids mapped
  kReady = 'r',      // child: all namespaces are there
  kCreated = 'c',    // child: waits for its start
  kExecuting = 'x',  // child: nothing but the exec is left
  kGo = 'g',         // caller: goes on; the text is the child's pid as the caller sees it
  kStart = 's',      // Start(): execute; child: understood
};

struct Note {
  Word word = Word::kError;
  std::string text;
};

struct Channel {
  sys::UniqueFd caller;
  sys::UniqueFd child;
};
Result<Channel> MakeChannel();

Status Send(int fd, Word word, std::string_view text = {});
// The code and the text of `error`, cut to what a message holds.
Status SendError(int fd, const Status& error);
// nullopt: the other end has closed. An error that the other end sent is this function's.
Result<std::optional<Note>> Receive(int fd, Deadline deadline = Deadline::Infinite());
// Receives exactly this word; anything else, and a closed channel, is an error.
Result<std::string> Await(int fd, Word word, Deadline deadline = Deadline::Infinite());

}  // namespace davit::native
