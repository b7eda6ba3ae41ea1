#include "cmd/oci/report.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "base/time.h"
#include "oci/json_writer.h"
#include "sys/unique_fd.h"

namespace davit::oci_cli {
namespace {

// The log facade takes a plain function, so that where its lines go is kept here.
struct LogFile {
  sys::UniqueFd fd;
  bool json = false;
};
LogFile& TheLog() {
  static LogFile log;
  return log;
}

std::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string Quoted(std::string_view text) {
  oci::JsonWriter out;
  out.String(text);
  return std::move(out).Take();
}

// One write(2) to a file that is open for appending: lines of several runtimes at once stay whole.
void WriteLine(LogLevel level, std::string_view message) {
  LogFile& log = TheLog();
  std::string time = FormatRfc3339Nano(WallNanos());
  std::string line =
      log.json ? fmt::format(R"({{"level":"{}","msg":{},"time":"{}"}})", LevelName(level), Quoted(message), time)
               : fmt::format("time=\"{}\" level={} msg={}", time, LevelName(level), Quoted(message));
  IgnoreError(sys::WriteAll(log.fd.valid() ? log.fd.get() : STDERR_FILENO, line + "\n"));
}

}  // namespace

Status OpenLog(const Globals& globals) {
  TheLog().json = globals.log_format == "json";
  if (!globals.log.empty()) {
    ASSIGN_OR_RETURN(TheLog().fd, sys::Open(globals.log, O_WRONLY | O_APPEND | O_CREAT, 0644));
  }
  SetLogLevel(globals.debug ? LogLevel::kDebug : LogLevel::kWarning);
  SetLogSink(WriteLine);
  return {};
}

void ReportError(const Status& error) {
  WriteLine(LogLevel::kError, error.message());
  if (TheLog().fd.valid()) IgnoreError(sys::WriteAll(STDERR_FILENO, error.message() + "\n"));
}

Status Print(std::string_view text) { return sys::WriteAll(STDOUT_FILENO, text).Annotate("write to stdout"); }

std::string Indented(std::string_view json) {
  std::string out;
  size_t depth = 0;
  bool quoted = false;
  auto line = [&] { out += '\n' + std::string(depth * 2, ' '); };
  for (size_t i = 0; i < json.size(); ++i) {
    char c = json[i];
    if (quoted) {
      out += c;
      if (c == '\\' && i + 1 < json.size()) out += json[++i];
      quoted = c != '"';
      continue;
    }
    bool empty = i + 1 < json.size() && (json[i + 1] == '}' || json[i + 1] == ']');
    if (c == '}' || c == ']') {
      --depth;
      if (json[i - 1] != '{' && json[i - 1] != '[') line();
    }
    out += c;
    quoted = c == '"';
    if (c == '{' || c == '[') {
      ++depth;
      if (!empty) line();
    }
    if (c == ',') line();
    if (c == ':') out += ' ';
  }
  return out + "\n";
}

}  // namespace davit::oci_cli
