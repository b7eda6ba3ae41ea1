#include "monitor/state.h"

#include "base/strings.h"

namespace davit::monitor {
namespace {

constexpr std::string_view kHeader = "davit-exit 1";

std::string Line(std::string_view name, int64_t value) {
  return std::string(name).append("=").append(std::to_string(value)).append("\n");
}

}  // namespace

std::string FormatExitRecord(const ExitRecord& record) {
  return std::string(kHeader).append("\n") + Line("code", record.code) + Line("started", record.started_at_nanos) +
         Line("finished", record.finished_at_nanos) + Line("oom", record.oom_killed ? 1 : 0) + "end\n";
}

Result<ExitRecord> ParseExitRecord(std::string_view text) {
  std::vector<std::string> lines = Split(text, '\n');
  // "end" tells a whole record from a cut one: rename(2) without fsync may leave a short file after a crash.
  if (lines.size() < 3 || lines.front() != kHeader || lines[lines.size() - 2] != "end" || !lines.back().empty()) {
    return DataLoss("exit record: not whole: " + Printable(text));
  }
  ExitRecord record;
  bool code = false, finished = false;
  for (const std::string& line : lines) {
    size_t eq = line.find('=');
    if (eq == std::string::npos) continue;
    std::optional<int64_t> value = ParseInt64(std::string_view(line).substr(eq + 1));
    std::string_view name = std::string_view(line).substr(0, eq);
    if (name != "code" && name != "started" && name != "finished" && name != "oom") continue;
    if (!value) return DataLoss("exit record: bad value: " + Printable(line));
    if (name == "code") {
      if (*value < 0 || *value > 255) return DataLoss("exit record: bad value: " + Printable(line));
      record.code = static_cast<int>(*value);
      code = true;
    } else if (name == "started") {
      record.started_at_nanos = *value;
    } else if (name == "finished") {
      record.finished_at_nanos = *value;
      finished = true;
    } else {
      record.oom_killed = *value != 0;
    }
  }
  if (!code || !finished) return DataLoss("exit record: code or finished is missing");
  return record;
}

}  // namespace davit::monitor
