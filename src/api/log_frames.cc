#include "api/log_frames.h"

#include <optional>

#include "api/bridge.h"
#include "api/filters.h"
#include "client/log_reader.h"

namespace davit::api {
namespace {

constexpr size_t kMaxLine = 4u << 20;

}  // namespace

std::string LogFrames::Feed(std::string_view bytes) {
  std::string out;
  while (!bytes.empty() && !past_end_) {
    size_t end = bytes.find('\n');
    std::string_view piece = bytes.substr(0, end);
    if (end != std::string_view::npos && rest_.empty() && !dropping_) {
      Line(piece, out);
    } else {
      if (!dropping_) rest_ += piece;
      if (rest_.size() > kMaxLine) {
        dropping_ = true;
        rest_.clear();
      }
      if (end == std::string_view::npos) return out;
      if (!dropping_) Line(rest_, out);
      dropping_ = false;
      rest_.clear();
    }
    bytes.remove_prefix(end + 1);
  }
  return out;
}

void LogFrames::Line(std::string_view line, std::string& to) {
  std::optional<client::LogEntry> entry = client::ParseLogLine(line);
  if (!entry) return;
  if (options_.since != 0 || options_.until != 0) {
    int64_t at = ParseTimestamp(entry->time, "log").value_or(0);
    if (at < options_.since) return;
    if (options_.until != 0 && at > options_.until) {
      past_end_ = true;
      return;
    }
  }
  auto index = static_cast<size_t>(entry->stream);
  bool error = entry->stream == client::LogStream::kStderr;
  std::string text;
  if (options_.timestamps && !midline_[index]) {
    text += entry->time;
    text += ' ';
  }
  text += entry->text;
  if (!entry->partial) text += '\n';
  midline_[index] = entry->partial;
  if (error ? !options_.err && !options_.raw : !options_.out) return;
  to += options_.raw ? text : Frame(error ? 2 : 1, text);
}

std::string LogFrames::Finish() {
  std::string out;
  if (!rest_.empty() && !dropping_) Line(rest_, out);
  rest_.clear();
  return out;
}

}  // namespace davit::api
