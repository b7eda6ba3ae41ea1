#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <string>

namespace davit {
namespace {

// The project's only mutable globals (house style 5).
std::atomic<LogSink> g_sink{nullptr};
std::atomic<LogLevel> g_level{LogLevel::kInfo};

void WriteToStderr(LogLevel level, std::string_view line) {
  static constexpr std::string_view kNames[] = {"debug", "info", "warning", "error"};
  std::string text(kNames[static_cast<int>(level)]);
  text += ": ";
  text += line;
  text += '\n';
  // One write(2), so that lines of several threads do not mix. Nothing can be done if it fails.
  [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

void SetLogSink(LogSink sink) { g_sink.store(sink); }
void SetLogLevel(LogLevel level) { g_level.store(level); }

bool LogEnabled(LogLevel level) {
  if (g_sink.load() == nullptr && level < LogLevel::kWarning) return false;
  return level >= g_level.load();
}

void LogLine(LogLevel level, std::string_view line) {
  if (LogSink sink = g_sink.load()) {
    sink(level, line);
  } else {
    WriteToStderr(level, line);
  }
}

}  // namespace davit
