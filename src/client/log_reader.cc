#include "client/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace davit::client {
namespace {

constexpr size_t kChunk = 64 * 1024;
constexpr size_t kMaxLine = 4u << 20;

std::optional<std::string_view> Word(std::string_view& line) {
  size_t blank = line.find(' ');
  if (blank == std::string_view::npos || blank == 0) return std::nullopt;
  std::string_view word = line.substr(0, blank);
  line.remove_prefix(blank + 1);
  return word;
}

}  // namespace

std::optional<LogEntry> ParseLogLine(std::string_view line) {
  auto time = Word(line);
  auto stream = Word(line);
  if (!time || !stream || (*stream != "stdout" && *stream != "stderr")) return std::nullopt;
  if (time->size() < 20 || (*time)[10] != 'T') return std::nullopt;
  // Runtimes may leave out the blank before an empty text.
  size_t blank = std::min(line.find(' '), line.size());
  std::string_view tag = line.substr(0, line.substr(0, blank).find(':'));
  if (tag.size() > blank) tag = line.substr(0, blank);
  if (tag != "P" && tag != "F") return std::nullopt;
  LogEntry entry;
  entry.time = *time;
  entry.stream = *stream == "stdout" ? LogStream::kStdout : LogStream::kStderr;
  entry.partial = tag == "P";
  entry.text = blank < line.size() ? line.substr(blank + 1) : std::string_view();
  return entry;
}

void LogDecoder::Feed(std::string_view bytes, LogOutput& to) {
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    std::string_view piece = bytes.substr(0, end);
    if (!dropping_) {
      rest_ += piece;
      if (rest_.size() > kMaxLine) {
        dropping_ = true;
        rest_.clear();
        to.err += "davit: a log line over 4 MiB is left out\n";
      }
    }
    if (end == std::string_view::npos) return;
    bytes.remove_prefix(end + 1);
    if (!dropping_) Line(rest_, to);
    dropping_ = false;
    rest_.clear();
  }
}

bool LogDecoder::Wanted(std::string_view time) const {
  if ((since_.empty() && until_.empty()) || !time.ends_with('Z')) return true;
  // Without the Z times of the same zone sort as texts, with fractions of any length.
  auto bare = [](std::string_view text) { return text.substr(0, text.find('Z')); };
  if (!since_.empty() && bare(time) < bare(since_)) return false;
  return until_.empty() || bare(time) <= bare(until_);
}

void LogDecoder::Line(std::string_view line, LogOutput& to) {
  std::optional<LogEntry> entry = ParseLogLine(line);
  if (!entry) {
    if (!line.empty()) to.err += "davit: not a log entry: " + std::string(line.substr(0, 256)) + "\n";
    return;
  }
  if (!Wanted(entry->time)) return;
  auto index = static_cast<size_t>(entry->stream);
  std::string& out = entry->stream == LogStream::kStdout ? to.out : to.err;
  if (timestamps_ && !midline_[index]) {
    out += entry->time;
    out += ' ';
  }
  out += entry->text;
  if (!entry->partial) out += '\n';
  midline_[index] = entry->partial;
}

void LogDecoder::Finish(LogOutput& to) {
  if (!rest_.empty() && !dropping_) Line(rest_, to);
  rest_.clear();
}

namespace {

constexpr int kMaxAside = 1000;  // files that are put aside

std::string Aside(const std::string& path, int number) {
  return number == 0 ? path : path + "." + std::to_string(number);
}

bool IsThere(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0;
}

// How many whole lines of output the file has, and where the last `lines` of them begin.
Result<uint64_t> FindTail(int fd, uint64_t lines, off_t& answer) {
  off_t start = ::lseek(fd, 0, SEEK_END);
  if (start < 0) return ErrnoError(errno, "seek");
  answer = 0;
  // Backwards in chunks; every finished line that is not partial counts. `tail` is the part of a line
  // whose beginning is in the chunk before.
  uint64_t seen = 0;
  std::string tail;
  bool at_end = true;
  while (start > 0 && seen <= lines) {
    auto size = static_cast<size_t>(std::min<off_t>(start, kChunk));
    start -= static_cast<off_t>(size);
    std::string bytes(size, '\0');
    ssize_t n = ::pread(fd, bytes.data(), size, start);
    if (n < 0) return ErrnoError(errno, "read");
    bytes.resize(static_cast<size_t>(n));
    bytes += tail;
    tail.clear();
    size_t stop = bytes.size();
    if (at_end && stop > 0 && bytes[stop - 1] == '\n') --stop;
    at_end = false;
    while (stop > 0) {
      size_t feed = bytes.rfind('\n', stop - 1);
      if (feed == std::string::npos) break;
      std::optional<LogEntry> entry = ParseLogLine(std::string_view(bytes).substr(feed + 1, stop - feed - 1));
      if (!entry || !entry->partial) ++seen;
      if (seen > lines) {
        // This line ends what comes before the tail; the tail begins after it.
        answer = start + static_cast<off_t>(stop) + 1;
        break;
      }
      stop = feed;
    }
    if (seen <= lines) tail = bytes.substr(0, std::min(stop, kMaxLine));
  }
  // The first line of the file has no line feed before it, but the beginning is the answer either way:
  // unless it is the line that ends what is not wanted.
  if (seen <= lines && !tail.empty()) {
    std::optional<LogEntry> entry = ParseLogLine(tail);
    if (!entry || !entry->partial) {
      if (seen == lines) answer = static_cast<off_t>(tail.size()) + 1;
      ++seen;
    }
  }
  return seen;
}

}  // namespace

Result<LogFile> LogFile::Open(const std::string& path) {
  int number = 0;
  while (number < kMaxAside && IsThere(Aside(path, number + 1))) ++number;
  for (; number > 0; --number) {
    // One that goes meanwhile was the oldest, and is nobody's any more.
    Result<sys::UniqueFd> oldest = sys::Open(Aside(path, number), O_RDONLY | O_NOCTTY);
    if (oldest.ok()) return LogFile(path, std::move(*oldest));
  }
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NOCTTY));
  return LogFile(path, std::move(fd));
}

Status LogFile::SeekTail(uint64_t lines) {
  for (int number = 0; number <= kMaxAside; ++number) {
    Result<sys::UniqueFd> file = sys::Open(Aside(path_, number), O_RDONLY | O_NOCTTY);
    if (!file.ok() && number > 0) return {};  // all that there is
    RETURN_IF_ERROR(file.status());
    fd_ = std::move(*file);
    off_t begin = 0;
    Result<uint64_t> found = FindTail(fd_.get(), lines, begin);
    if (!found.ok()) return found.status().Annotate(path_);
    off_t end = ::lseek(fd_.get(), 0, SEEK_END);
    if (::lseek(fd_.get(), std::min(begin, end), SEEK_SET) < 0) return ErrnoError(errno, "seek in " + path_);
    if (*found >= lines) return {};
    lines -= *found;
  }
  return {};
}

Result<std::string> LogFile::Read() {
  std::string bytes(kChunk, '\0');
  ssize_t n = -1;
  do {
    n = ::read(fd_.get(), bytes.data(), bytes.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoError(errno, "read " + path_);
  bytes.resize(static_cast<size_t>(n));
  return bytes;
}

bool LogFile::Rotated() {
  struct stat here {};
  struct stat there {};
  if (::fstat(fd_.get(), &here) != 0 || ::stat(path_.c_str(), &there) != 0) return false;
  if (here.st_ino == there.st_ino && here.st_dev == there.st_dev) {
    // Truncated in place: begin again.
    off_t at = ::lseek(fd_.get(), 0, SEEK_CUR);
    if (at > here.st_size) return ::lseek(fd_.get(), 0, SEEK_SET) == 0;
    return false;
  }
  // What was written to it between the last Read and its end comes first.
  if (::fstat(fd_.get(), &here) != 0) return false;
  if (::lseek(fd_.get(), 0, SEEK_CUR) < here.st_size) return true;
  // The one after it: this one may have been put aside several times since. When it is not among those any more (its
  // turn to go has come, or the kubelet has given it a name of its own), the oldest that is left.
  int number = 0;
  while (number < kMaxAside && ::stat(Aside(path_, number + 1).c_str(), &there) == 0) {
    ++number;
    if (here.st_ino == there.st_ino && here.st_dev == there.st_dev) {
      --number;
      break;
    }
  }
  Result<sys::UniqueFd> next = sys::Open(Aside(path_, number), O_RDONLY | O_NOCTTY);
  if (!next.ok()) return false;
  fd_ = std::move(*next);
  return true;
}

}  // namespace davit::client
