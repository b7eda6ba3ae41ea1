#include "processes.h"

#include <dirent.h>
#include <unistd.h>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::bench {
namespace {

constexpr size_t kMaxProcFile = 1 << 20;

std::string ProcPath(pid_t pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::string MountNamespace(pid_t pid) {
  char text[64] = {};
  ssize_t n = ::readlink(ProcPath(pid, "ns/mnt").c_str(), text, sizeof text - 1);
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : std::string();
}

bool NamesOne(pid_t pid, const std::vector<std::string>& ids) {
  Result<std::string> line = sys::ReadFile(ProcPath(pid, "cmdline"), kMaxProcFile);
  if (!line.ok()) return false;
  for (const std::string& id : ids) {
    if (line->find(id) != std::string::npos) return true;
  }
  return false;
}

bool IsNew(const ProcessTable& before, const ProcessInfo& process) {
  auto old = before.find(process.pid);
  return old == before.end() || old->second.start != process.start;
}

}  // namespace

const std::set<std::string>& HelperNames() {
  // comm is cut after 15 bytes.
  static const std::set<std::string> names = {"davit-monitor", "davit-init",      "conmon",
                                              "conmonrs",      "containerd-shim", "pause"};
  return names;
}

Result<ProcessInfo> ParseStat(std::string_view line) {
  size_t open = line.find('(');
  size_t close = line.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return InvalidArgument("stat without a name");
  ProcessInfo info;
  info.comm = line.substr(open + 1, close - open - 1);
  auto pid = ParseUint64(Trim(line.substr(0, open)));
  // From field 3 (state) on.
  std::vector<std::string> fields = Split(Trim(line.substr(close + 1)), ' ');
  constexpr size_t kFirst = 3;
  auto field = [&](size_t number) {
    return number - kFirst < fields.size() ? ParseUint64(fields[number - kFirst]) : std::nullopt;
  };
  auto parent = field(4);
  auto utime = field(14);
  auto stime = field(15);
  auto cutime = field(16);
  auto cstime = field(17);
  auto start = field(22);
  if (!pid || !parent || !utime || !stime || !cutime || !cstime || !start)
    return InvalidArgument("stat with a malformed field");
  info.pid = static_cast<pid_t>(*pid);
  info.parent = static_cast<pid_t>(*parent);
  info.own_ticks = *utime + *stime;
  info.waited_ticks = *cutime + *cstime;
  info.start = *start;
  return info;
}

ProcessTable ReadProcesses() {
  ProcessTable table;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return table;
  while (const dirent* entry = ::readdir(directory)) {
    if (!ParseUint64(entry->d_name)) continue;
    Result<std::string> line = sys::ReadFile(std::string("/proc/") + entry->d_name + "/stat", kMaxProcFile);
    if (!line.ok()) continue;  // it has just ended
    Result<ProcessInfo> info = ParseStat(*line);
    if (info.ok()) table.emplace(info->pid, std::move(*info));
  }
  ::closedir(directory);
  return table;
}

std::set<pid_t> Descendants(const ProcessTable& table, pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const auto& [pid, info] : table) children.emplace(info.parent, pid);
  std::set<pid_t> found = {root};
  std::vector<pid_t> waiting = {root};
  while (!waiting.empty()) {
    auto [first, last] = children.equal_range(waiting.back());
    waiting.pop_back();
    for (auto it = first; it != last; ++it) {
      if (found.insert(it->second).second) waiting.push_back(it->second);
    }
  }
  return found;
}

double CpuSeconds(const ProcessTable& table, pid_t daemon) {
  uint64_t ticks = 0;
  for (pid_t pid : Descendants(table, daemon)) {
    auto found = table.find(pid);
    if (found != table.end()) ticks += found->second.own_ticks + found->second.waited_ticks;
  }
  return static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

Result<uint64_t> PssBytes(pid_t pid) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(ProcPath(pid, "smaps_rollup"), kMaxProcFile));
  for (const std::string& line : Split(text, '\n')) {
    if (!line.starts_with("Pss:")) continue;
    std::string number(Trim(std::string_view(line).substr(4)));
    number = number.substr(0, number.find(' '));
    if (auto kilobytes = ParseUint64(number)) return *kilobytes * 1024;
  }
  return NotFound("no Pss of process " + std::to_string(pid));
}

MemoryUse ReadMemory(const ProcessTable& before, pid_t daemon, const std::vector<std::string>& ids) {
  ProcessTable now = ReadProcesses();
  std::set<pid_t> linked = Descendants(now, daemon);
  for (const auto& [pid, info] : now) {
    if (IsNew(before, info) && (HelperNames().contains(info.comm) || NamesOne(pid, ids)))
      linked.merge(Descendants(now, pid));
  }
  linked.erase(daemon);
  const std::string own = MountNamespace(daemon);
  MemoryUse use;
  use.daemon_bytes = static_cast<double>(PssBytes(daemon).value_or(0));
  for (pid_t pid : linked) {
    auto found = now.find(pid);
    if (found == now.end() || pid == ::getpid() || !IsNew(before, found->second)) continue;
    bool container = MountNamespace(pid) != own && !HelperNames().contains(found->second.comm);
    Result<uint64_t> pss = PssBytes(pid);
    if (container || !pss.ok()) continue;
    use.helper_bytes += static_cast<double>(*pss);
    ++use.helpers;
  }
  return use;
}

}  // namespace davit::bench
