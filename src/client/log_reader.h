// The container log format of CRI (kubernetes/design-proposals "CRI logging"): one entry a line,
// "<RFC 3339 time> <stdout|stderr> <P|F>[:tags] <text>". P marks a piece of a longer line.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::client {

enum class LogStream { kStdout, kStderr };

struct LogEntry {
  std::string_view time;  // into the parsed line
  LogStream stream = LogStream::kStdout;
  bool partial = false;
  std::string_view text;  // into the parsed line
};

// nullopt when `line` (without its line feed) is not of the format.
std::optional<LogEntry> ParseLogLine(std::string_view line);

// Bytes for the two streams, in order of the log within each.
struct LogOutput {
  std::string out;
  std::string err;
};

// Turns log bytes, cut anywhere, into the container's output. Lines that are not of the format go to
// stderr as they are, marked.
class LogDecoder {
 public:
  // `since`, `until`: RFC 3339 in UTC; empty: no limit. Entries with the time of another zone are in.
  explicit LogDecoder(bool timestamps, std::string since = "", std::string until = "")
      : timestamps_(timestamps), since_(std::move(since)), until_(std::move(until)) {}

  void Feed(std::string_view bytes, LogOutput& to);
  // What an unfinished line holds, at the end of the log.
  void Finish(LogOutput& to);

 private:
  void Line(std::string_view line, LogOutput& to);
  [[nodiscard]] bool Wanted(std::string_view time) const;

  const bool timestamps_;
  const std::string since_;
  const std::string until_;
  std::string rest_;
  bool dropping_ = false;             // a line beyond the cap
  bool midline_[2] = {false, false};  // by stream: the last entry was partial
};

// A log file that may be rotated (renamed, and begun anew) while it is followed. Files that davit-monitor has put aside
// (PATH.1 the newest of them, docs/formats/cri-log.md) are read before it, the oldest first.
class LogFile {
 public:
  static Result<LogFile> Open(const std::string& path);

  // Puts the position before the last `lines` whole lines of output (a run of P entries with its F entry
  // is one), reading backwards.
  Status SeekTail(uint64_t lines);
  // At most 64 KiB; empty at the end of a file: for good, unless Rotated().
  Result<std::string> Read();
  // True when another file comes after this one, which the next Read begins: only after Read was empty.
  bool Rotated();

 private:
  LogFile(std::string path, sys::UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  sys::UniqueFd fd_;
};

}  // namespace davit::client
