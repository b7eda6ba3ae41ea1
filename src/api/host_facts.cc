#include "api/host_facts.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::api {
namespace {

std::string GoArchitecture(std::string_view machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return std::string(machine);
}

std::map<std::string, std::string> OsRelease() {
  std::map<std::string, std::string> out;
  Result<std::string> text = sys::ReadFile("/etc/os-release", 64 * 1024);
  if (!text.ok()) return out;
  for (const std::string& line : Split(*text, '\n')) {
    size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    std::string value = line.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    out[line.substr(0, equals)] = value;
  }
  return out;
}

}  // namespace

HostFacts ReadHostFacts() {
  HostFacts facts;
  utsname names{};
  if (::uname(&names) == 0) {
    facts.kernel = names.release;
    facts.architecture = GoArchitecture(names.machine);
    facts.hostname = names.nodename;
  }
  auto release = OsRelease();
  facts.os_id = release["ID"];
  facts.os_version = release["VERSION_ID"];
  facts.os_codename = release["VERSION_CODENAME"];
  facts.os_name = release["PRETTY_NAME"];
  struct sysinfo info {};
  if (::sysinfo(&info) == 0) {
    facts.memory_total = info.totalram * info.mem_unit;
    facts.memory_free = info.freeram * info.mem_unit;
    facts.swap_total = info.totalswap * info.mem_unit;
    facts.swap_free = info.freeswap * info.mem_unit;
    facts.uptime_seconds = info.uptime;
  }
  facts.cpus = std::max(1u, std::thread::hardware_concurrency());
  facts.cgroup_v2 = ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
  return facts;
}

uint64_t SystemCpuNanos() {
  Result<std::string> text = sys::ReadFile("/proc/stat", 1u << 20);
  if (!text.ok()) return 0;
  // "cpu  user nice system idle iowait irq softirq steal …", in ticks; guest time is in user time already.
  uint64_t ticks = 0;
  size_t count = 0;
  for (const std::string& word : Split(text->substr(0, text->find('\n')), ' ')) {
    if (auto number = ParseUint64(word); number && count++ < 8) ticks += *number;
  }
  return ticks * (1'000'000'000ull / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK)));
}

}  // namespace davit::api
