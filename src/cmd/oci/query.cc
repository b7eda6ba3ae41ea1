// state, list, ps, events, features and spec: what only tells.
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "base/strings.h"
#include "cmd/oci/loaded.h"
#include "cmd/oci/report.h"
#include "cmd/oci/verbs.h"
#include "native/features.h"
#include "native/stats_json.h"
#include "oci/json_writer.h"
#include "sys/atomic_file.h"
#include "sys/cgroup_stats.h"

namespace davit::oci_cli {
namespace {

constexpr std::chrono::seconds kPsTime{30};
constexpr size_t kMaxPsOutput = 16u << 20;

int64_t PidOf(const Loaded& container) {
  return container.status == native::ContainerStatus::kStopped ? 0 : container.record.process.pid;
}

std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}", row[i], std::max<size_t>(widths[i] + 3, 12));
    }
    out += '\n';
  }
  return out;
}

// "90s", "1m30s" as Go writes durations, or seconds.
Result<std::chrono::milliseconds> ParseInterval(const std::string& text) {
  std::string_view rest = text;
  std::chrono::milliseconds total{0};
  Status bad = InvalidArgument(fmt::format("--interval \"{}\": expected a time such as 5s", Printable(text)));
  if (auto seconds = ParseUint64(text); seconds && *seconds > 0 && *seconds < 86400) {
    return std::chrono::milliseconds(*seconds * 1000);
  }
  while (!rest.empty()) {
    size_t digits = rest.find_first_not_of("0123456789");
    if (digits == 0 || digits == std::string_view::npos || digits > 6) return bad;
    uint64_t number = *ParseUint64(rest.substr(0, digits));
    rest.remove_prefix(digits);
    std::string_view unit = rest.substr(0, std::min(rest.find_first_of("0123456789"), rest.size()));
    uint64_t millis = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "m" ? 60000 : unit == "h" ? 3600000 : 0;
    if (millis == 0) return bad;
    total += std::chrono::milliseconds(number * millis);
    rest.remove_prefix(unit.size());
  }
  return total.count() > 0 ? Result<std::chrono::milliseconds>(total) : bad;
}

}  // namespace

Status PrintState(const Globals& globals, const std::string& id) {
  ASSIGN_OR_RETURN(Loaded container, Load(globals, id));
  return Print(Indented(native::StateJson(container.record, container.status, PidOf(container))));
}

Status List(const Globals& globals, const ListOptions& options) {
  ASSIGN_OR_RETURN(std::vector<std::string> ids, native::ContainerState::List(globals.root));
  std::vector<std::vector<std::string>> rows = {{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
  std::string json;
  std::string names;
  for (const std::string& id : ids) {
    // One that goes meanwhile, or whose creation died at its first step, is not there.
    Result<Loaded> container = Load(globals, id);
    if (!container.ok()) continue;
    const native::Record& record = container->record;
    names += id + "\n";
    json += (json.empty() ? "" : ",") + native::StateJson(record, container->status, PidOf(*container));
    rows.push_back({id, std::to_string(PidOf(*container)), std::string(native::StatusName(container->status)),
                    record.bundle, record.created, record.owner});
  }
  if (options.quiet) return Print(names);
  if (options.format == "json") return Print(json.empty() ? "null\n" : "[" + json + "]\n");
  return Print(Table(rows));
}

Status Ps(const Globals& globals, const PsOptions& options) {
  ASSIGN_OR_RETURN(Loaded container, Load(globals, options.id));
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  std::vector<pid_t> pids;
  if (sys::CgroupExists(layout, container.record.cgroup)) {
    ASSIGN_OR_RETURN(pids, sys::ListProcesses(layout, container.record.cgroup));
  }
  if (options.format == "json") return Print(pids.empty() ? "null\n" : fmt::format("[{}]\n", fmt::join(pids, ",")));
  sys::SpawnOptions ps;
  ps.argv = {"ps"};
  ps.env = sys::MinimalEnvironment();
  if (options.arguments.empty()) ps.argv.emplace_back("-ef");
  ps.argv.insert(ps.argv.end(), options.arguments.begin(), options.arguments.end());
  ASSIGN_OR_RETURN(sys::CommandResult result, sys::RunCommand(ps, "", kMaxPsOutput, Deadline::After(kPsTime)));
  if (result.exit.code != 0) return Internal("ps: " + Printable(Trim(result.err), 1024));
  std::vector<std::string> lines = Split(result.out, '\n');
  auto words = [](const std::string& line) {
    std::vector<std::string> all = Split(line, ' ');
    std::erase(all, "");
    return all;
  };
  std::vector<std::string> title = words(lines[0]);
  size_t column = static_cast<size_t>(std::find(title.begin(), title.end(), "PID") - title.begin());
  if (column == title.size()) return InvalidArgument("the arguments of ps leave out the column PID");
  std::set<std::string> wanted;
  for (pid_t pid : pids) wanted.insert(std::to_string(pid));
  std::string out = lines[0] + "\n";
  for (size_t i = 1; i < lines.size(); ++i) {
    std::vector<std::string> fields = words(lines[i]);
    if (fields.size() > column && wanted.count(fields[column]) != 0) out += lines[i] + "\n";
  }
  return Print(out);
}

Status Events(const Globals& globals, const EventsOptions& options) {
  ASSIGN_OR_RETURN(std::chrono::milliseconds interval, ParseInterval(options.interval));
  ASSIGN_OR_RETURN(Loaded container, Load(globals, options.id));
  if (container.status == native::ContainerStatus::kStopped) {
    return FailedPrecondition(fmt::format("container with id {} is not running", options.id));
  }
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  ASSIGN_OR_RETURN(sys::PidFd process, native::FindProcess(container.record.process));
  sys::CgroupStatsReader reader(layout);
  uint64_t kills = 0;
  for (bool first = true;; first = false) {
    Result<sys::CgroupDetail> detail = reader.ReadDetail(container.record.cgroup);
    if (!detail.ok()) return detail.code() == StatusCode::kNotFound && !first ? Status() : detail.status();
    uint64_t now = detail->oom_kills.value_or(0);
    if (!first && now > kills) {
      RETURN_IF_ERROR(Print(fmt::format(R"({{"type":"oom","id":"{}"}})", options.id) + "\n"));
    }
    kills = now;
    RETURN_IF_ERROR(Print(native::StatsEvent(options.id, *detail) + "\n"));
    if (options.once) return {};
    if (process.WaitEnded(Deadline::After(interval))) return {};
  }
}

Status PrintFeatures() { return Print(Indented(native::FeaturesJson())); }

Status WriteSpec(const std::string& bundle, bool rootless) {
  const std::string file = bundle + "/config.json";
  if (::access(file.c_str(), F_OK) == 0) return AlreadyExists(file + " exists already; remove it first");
  return sys::WriteFileAtomic(file, Indented(native::ExampleSpec(rootless)), 0666 & ~022u, sys::Durability::kAtomic);
}

}  // namespace davit::oci_cli
