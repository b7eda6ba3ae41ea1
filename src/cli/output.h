// Where and how results are printed.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace google::protobuf {
class Message;
}

namespace davit::cli {

struct Output {
  bool json = false;      // -o json
  bool terminal = false;  // standard output is one: people read it
  bool colour = false;
  bool full = true;  // ids in full and times as times, as in every output that is no terminal
  unsigned columns = 80;
};
// `no_trunc` for --no-trunc. Colour needs a terminal and no NO_COLOR in the environment.
Output MakeOutput(bool json, bool no_trunc);

// To standard output. A reader that has gone ends the program's output silently, as a pipe does.
void Print(std::string_view text);
void PrintLine(std::string_view text);
// The message as indented JSON with camelCase names, as crictl prints it.
Status PrintJson(const google::protobuf::Message& message);
// The same on one line, for streams.
Status PrintJsonLine(const google::protobuf::Message& message);

// A moment in nanoseconds since the epoch: "2 minutes ago" for people, RFC 3339 otherwise, "" for 0.
std::string Moment(const Output& out, int64_t nanos);

// "davit: run pod: message (CODE)" to standard error.
void PrintError(const Status& status);
// What to do next when nobody serves the socket, or the caller may not open it; nothing otherwise.
void PrintHint(const Status& status, const std::string& socket_path);

}  // namespace davit::cli
