// The container's log file in CRI format (docs/formats/cri-log.md): LogFormatter turns bytes into lines
// and is pure; LogWriter puts them into the file and holds back when the disk is full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::monitor {

enum class Stream : uint8_t { kStdout = 0, kStderr = 1 };

// Pages of its own, so that an idle monitor can give them back (Release) without a fragmented heap.
class PageBuffer {
 public:
  explicit PageBuffer(size_t capacity);  // terminates the process when there is no address space
  ~PageBuffer();
  PageBuffer(const PageBuffer&) = delete;
  PageBuffer& operator=(const PageBuffer&) = delete;

  [[nodiscard]] char* data() { return data_; }
  [[nodiscard]] const char* data() const { return data_; }
  [[nodiscard]] size_t capacity() const { return capacity_; }
  void Release();  // the content is lost

 private:
  char* data_;
  size_t capacity_;
};

// RFC 3339 with nine digits, UTC, always 30 bytes. Unlike gmtime_r it does not load the time zone.
inline constexpr size_t kTimestampBytes = 30;
void FormatTimestamp(int64_t wall_nanos, char* out);

class LogFormatter {
 public:
  explicit LogFormatter(uint32_t max_line) : max_line_(max_line) {}

  // Bytes a formatted line takes beside its text: "TIMESTAMP stdout F " and the newline.
  static constexpr size_t kOverhead = kTimestampBytes + 11;

  // Formats as much of `data` as fits into [out, out + room) and returns {consumed, produced}. Text of an
  // unfinished line is kept for the next call (and counts as consumed). The lines made do not depend on
  // how the bytes are cut into calls. `room` is at least max_line + kOverhead.
  struct Progress {
    size_t consumed = 0;
    size_t produced = 0;
  };
  Progress Format(Stream stream, std::string_view data, const char* timestamp, char* out, size_t room);

  // The unfinished line, if any, as a partial one: it ended without a newline, and readers must add none.
  size_t Finish(Stream stream, const char* timestamp, char* out);
  [[nodiscard]] bool HasUnfinished(Stream stream) const { return !carry_[static_cast<int>(stream)].empty(); }
  void ReleaseMemory();

 private:
  uint32_t max_line_;
  std::string carry_[2];  // unfinished line of each stream, at most max_line_ bytes
};

// Single thread.
class LogWriter {
 public:
  // An empty path discards. The error names the path.
  static Result<LogWriter> Open(const std::string& path, uint32_t max_line);
  LogWriter(LogWriter&&) noexcept;
  ~LogWriter();

  // From now on a file of `bytes` or more is put aside, between two lines: PATH.1 is the newest of those, and with the
  // current one there are at most `files`. 0 bytes: never.
  void RotateAt(uint64_t bytes, uint32_t files);

  // Takes all of `data`. While blocked() it must not be called.
  void Add(Stream stream, std::string_view data);
  void Finish(Stream stream);
  // The last write failed (disk full, quota, IO error): nothing is dropped; call Retry now and then.
  [[nodiscard]] bool blocked() const;
  void Retry();

  // A new file at the path; the old one gets nothing more. On an error the old file stays in use.
  Status Reopen();
  // Gives buffers back; they come again with the next Add.
  void ReleaseMemory();

 private:
  struct Impl;
  explicit LogWriter(Impl* impl);
  Impl* impl_;
};

}  // namespace davit::monitor
