// The log facade. Code calls LogInfo("pulled {} in {} ms", ref, ms); where the lines go is decided
// once, in cmd/, by SetLogSink. Without a sink, warnings and errors go to stderr.
//
// Never pass a secret: types that hold one have no formatter.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace davit {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Called from any thread, with one line without its newline. The pointer stays valid for the life of
// the process; nullptr restores the default.
using LogSink = void (*)(LogLevel level, std::string_view line);
void SetLogSink(LogSink sink);
void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);
void LogLine(LogLevel level, std::string_view line);

template <class... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kDebug)) LogLine(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kInfo)) LogLine(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogWarning(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kWarning)) LogLine(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogError(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kError)) LogLine(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace davit
