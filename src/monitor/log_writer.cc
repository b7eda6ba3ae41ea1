#include "monitor/log_writer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/time.h"

namespace davit::monitor {

PageBuffer::PageBuffer(size_t capacity) : capacity_(capacity) {
  void* pages = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) ::abort();
  data_ = static_cast<char*>(pages);
}

PageBuffer::~PageBuffer() { ::munmap(data_, capacity_); }

void PageBuffer::Release() { ::madvise(data_, capacity_, MADV_DONTNEED); }

namespace {

void PutDigits(char* out, int count, int64_t value) {
  for (int i = count - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
}

}  // namespace

void FormatTimestamp(int64_t wall_nanos, char* out) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t seconds = std::max<int64_t>(wall_nanos, 0) / kSecond;
  int64_t days = seconds / 86400;
  int64_t in_day = seconds % 86400;
  // Proleptic Gregorian date from a day count: years start in March, so that the leap day is the last day
  // and month lengths follow (153 m + 2) / 5; 719468 days lie between 0000-03-01 and 1970-01-01.
  int64_t z = days + 719468;
  int64_t era = z / 146097;
  int64_t day_of_era = z % 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t march_month = (5 * day_of_year + 2) / 153;
  int64_t day = day_of_year - (153 * march_month + 2) / 5 + 1;
  int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
  int64_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);
  std::memcpy(out, "0000-00-00T00:00:00.000000000Z", kTimestampBytes);
  PutDigits(out, 4, year);
  PutDigits(out + 5, 2, month);
  PutDigits(out + 8, 2, day);
  PutDigits(out + 11, 2, in_day / 3600);
  PutDigits(out + 14, 2, in_day / 60 % 60);
  PutDigits(out + 17, 2, in_day % 60);
  PutDigits(out + 20, 9, std::max<int64_t>(wall_nanos, 0) % kSecond);
}

namespace {

// "TIMESTAMP stream TAG " head, then the two texts and a newline. Returns the end.
char* PutLine(char* out, const char* timestamp, Stream stream, char tag, std::string_view head, std::string_view tail) {
  std::memcpy(out, timestamp, kTimestampBytes);
  out += kTimestampBytes;
  std::memcpy(out, stream == Stream::kStdout ? " stdout " : " stderr ", 8);
  out += 8;
  *out++ = tag;
  *out++ = ' ';
  if (!head.empty()) std::memcpy(out, head.data(), head.size());
  out += head.size();
  if (!tail.empty()) std::memcpy(out, tail.data(), tail.size());
  out += tail.size();
  *out++ = '\n';
  return out;
}

}  // namespace

LogFormatter::Progress LogFormatter::Format(Stream stream, std::string_view data, const char* timestamp, char* out,
                                            size_t room) {
  std::string& carry = carry_[static_cast<int>(stream)];
  Progress done;
  while (done.consumed < data.size()) {
    std::string_view rest = data.substr(done.consumed);
    size_t fits = max_line_ - carry.size();
    // One byte more than fits: a full piece is only known to be partial when the next byte is no newline.
    const void* newline = std::memchr(rest.data(), '\n', std::min(rest.size(), fits + 1));
    if (newline == nullptr && rest.size() <= fits) {
      carry.append(rest);
      done.consumed = data.size();
      break;
    }
    size_t length = newline != nullptr ? static_cast<size_t>(static_cast<const char*>(newline) - rest.data()) : fits;
    if (carry.size() + length + kOverhead > room - done.produced) break;
    char* end =
        PutLine(out + done.produced, timestamp, stream, newline != nullptr ? 'F' : 'P', carry, rest.substr(0, length));
    done.produced = static_cast<size_t>(end - out);
    done.consumed += length + (newline != nullptr ? 1 : 0);
    carry.clear();
  }
  return done;
}

size_t LogFormatter::Finish(Stream stream, const char* timestamp, char* out) {
  std::string& carry = carry_[static_cast<int>(stream)];
  if (carry.empty()) return 0;
  size_t produced = static_cast<size_t>(PutLine(out, timestamp, stream, 'P', carry, {}) - out);
  carry.clear();
  return produced;
}

void LogFormatter::ReleaseMemory() {
  for (std::string& carry : carry_) carry.shrink_to_fit();
}

// Of address space: a read of 256 KiB in lines of 50 bytes and more goes out in one write.
constexpr size_t kBufferBytes = 512 * 1024;

namespace {

Result<sys::UniqueFd> OpenLogFile(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash + 1 == path.size()) return InvalidArgument("log path " + path);
  ASSIGN_OR_RETURN(sys::UniqueFd directory, sys::Open(path.substr(0, slash + 1), O_PATH | O_DIRECTORY));
  // O_NOFOLLOW: log directories are writable for more than root on some nodes. O_NONBLOCK: a FIFO there
  // must not hang the open; it has no effect on a regular file.
  int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  sys::UniqueFd file(::openat(directory.get(), path.c_str() + slash + 1, flags, 0640));
  if (!file.valid()) return ErrnoError(errno, "open log " + path);
  struct stat st;
  if (::fstat(file.get(), &st) != 0) return ErrnoError(errno, "stat log " + path);
  if (!S_ISREG(st.st_mode)) return FailedPrecondition("log " + path + ": not a regular file");
  return file;
}

}  // namespace

struct LogWriter::Impl {
  Impl(std::string log_path, uint32_t longest)
      : path(std::move(log_path)),
        max_line(longest),
        formatter(longest),
        buffer(std::max<size_t>(kBufferBytes, longest + LogFormatter::kOverhead)) {}

  const std::string path;
  const size_t max_line;
  sys::UniqueFd file;
  LogFormatter formatter;
  PageBuffer buffer;  // formatted lines [written, filled) not yet in the file
  size_t written = 0;
  size_t filled = 0;
  std::string backlog;  // raw bytes behind them, of backlog_stream; only while blocked
  Stream backlog_stream = Stream::kStdout;
  bool dirty = false;  // the buffer's pages are in use
  uint64_t size = 0;   // of the file
  uint64_t rotate_at = 0;
  uint32_t files = 1;

  // What cannot be renamed or made stays as it is: output is worth more than the limit of its file.
  void Rotate() {
    size = 0;  // not tried again with every line
    for (uint32_t i = files; i-- > 1;) {
      const std::string from = i == 1 ? path : path + "." + std::to_string(i - 1);
      if (::rename(from.c_str(), (path + "." + std::to_string(i)).c_str()) != 0 && errno != ENOENT) return;
    }
    // Who follows it has the old one open, and reads that to its end.
    if (files == 1 && ::unlink(path.c_str()) != 0 && errno != ENOENT) return;
    if (Result<sys::UniqueFd> next = OpenLogFile(path); next.ok()) file = std::move(*next);
  }

  // False when bytes remain.
  bool Flush() {
    while (written < filled) {
      ssize_t n = ::write(file.get(), buffer.data() + written, filled - written);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      written += static_cast<size_t>(n);
      size += static_cast<uint64_t>(n);
    }
    written = filled = 0;
    if (rotate_at != 0 && size >= rotate_at) Rotate();
    return true;
  }

  void Add(Stream stream, std::string_view data) {
    char timestamp[kTimestampBytes];
    FormatTimestamp(WallNanos(), timestamp);
    dirty = true;
    while (!data.empty()) {
      // A file is no longer than its limit and one line; what is left of a read begins the next.
      size_t room = buffer.capacity() - filled;
      if (rotate_at != 0) {
        const uint64_t left = rotate_at > size ? rotate_at - size : 0;
        room = std::min(room, static_cast<size_t>(std::max<uint64_t>(left, max_line + LogFormatter::kOverhead)));
      }
      LogFormatter::Progress done = formatter.Format(stream, data, timestamp, buffer.data() + filled, room);
      data.remove_prefix(done.consumed);
      filled += done.produced;
      if (!Flush()) {
        backlog_stream = stream;
        backlog.assign(data);
        return;
      }
    }
  }
};

Result<LogWriter> LogWriter::Open(const std::string& path, uint32_t max_line) {
  LogWriter writer(new Impl(path, max_line));
  if (path.empty()) return writer;
  ASSIGN_OR_RETURN(writer.impl_->file, OpenLogFile(path));
  return writer;
}

void LogWriter::RotateAt(uint64_t bytes, uint32_t files) {
  impl_->rotate_at = bytes;
  impl_->files = std::max<uint32_t>(files, 1);
  struct stat st {};
  if (impl_->file.valid() && ::fstat(impl_->file.get(), &st) == 0) impl_->size = static_cast<uint64_t>(st.st_size);
}

LogWriter::LogWriter(Impl* impl) : impl_(impl) {}
LogWriter::LogWriter(LogWriter&& other) noexcept : impl_(std::exchange(other.impl_, nullptr)) {}
LogWriter::~LogWriter() { delete impl_; }

void LogWriter::Add(Stream stream, std::string_view data) {
  if (impl_->file.valid()) impl_->Add(stream, data);
}

void LogWriter::Finish(Stream stream) {
  Impl& log = *impl_;
  if (!log.file.valid() || !log.formatter.HasUnfinished(stream)) return;
  if (blocked()) return;  // the caller finishes again once Retry has made room
  char timestamp[kTimestampBytes];
  FormatTimestamp(WallNanos(), timestamp);
  log.dirty = true;
  log.filled += log.formatter.Finish(stream, timestamp, log.buffer.data() + log.filled);
  log.Flush();
}

bool LogWriter::blocked() const { return impl_->written < impl_->filled || !impl_->backlog.empty(); }

void LogWriter::Retry() {
  Impl& log = *impl_;
  if (!blocked() || !log.Flush()) return;
  std::string backlog = std::move(log.backlog);
  log.backlog.clear();
  log.Add(log.backlog_stream, backlog);
}

Status LogWriter::Reopen() {
  Impl& log = *impl_;
  if (!log.file.valid()) return {};
  Retry();
  ASSIGN_OR_RETURN(sys::UniqueFd file, OpenLogFile(log.path));
  // What the full disk refused goes to the new file in whole lines: back to the start of the line that the
  // old file has a part of.
  while (log.written > 0 && log.written < log.filled && log.buffer.data()[log.written - 1] != '\n') --log.written;
  log.file = std::move(file);
  log.size = 0;
  Retry();
  return {};
}

void LogWriter::ReleaseMemory() {
  Impl& log = *impl_;
  log.formatter.ReleaseMemory();
  if (blocked() || !log.dirty) return;
  log.buffer.Release();
  log.dirty = false;
}

}  // namespace davit::monitor
