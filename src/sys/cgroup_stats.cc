// ReadCgroupStats: what CRI reports, from the files of either cgroup version.
// Sources: Documentation/admin-guide/cgroup-v1/{cpuacct,memory}.rst, cgroup-v2.rst.

#include <algorithm>

#include "base/strings.h"
#include "base/time.h"
#include "sys/cgroup.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
// A v1 limit that was never set is LONG_MAX rounded down to pages.
constexpr uint64_t kUnlimited = uint64_t{1} << 62;

// nullopt for a file that is not there (root cgroup, controller off) or says "max".
std::optional<uint64_t> ReadNumber(const std::string& path) {
  Result<std::string> text = ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return std::nullopt;
  return ParseUint64(Trim(*text));
}

// "key value" lines.
std::map<std::string, uint64_t> ReadPairs(const std::string& path) {
  std::map<std::string, uint64_t> pairs;
  Result<std::string> text = ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return pairs;
  for (const std::string& line : Split(*text, '\n')) {
    size_t blank = line.find(' ');
    if (blank == std::string::npos) continue;
    if (auto value = ParseUint64(Trim(std::string_view(line).substr(blank + 1)))) pairs[line.substr(0, blank)] = *value;
  }
  return pairs;
}

std::optional<uint64_t> Find(const std::map<std::string, uint64_t>& pairs, const char* key) {
  auto it = pairs.find(key);
  if (it == pairs.end()) return std::nullopt;
  return it->second;
}

// The two versions name the same numbers differently; v1's total_* include the cgroups below.
struct MemoryNames {
  const char* usage;
  const char* limit;
  const char* inactive_file;
  const char* rss;
  const char* page_faults;
  const char* major_page_faults;
};
constexpr MemoryNames kV1Memory = {"/memory.usage_in_bytes", "/memory.limit_in_bytes",
                                   "total_inactive_file",    "total_rss",
                                   "total_pgfault",          "total_pgmajfault"};
constexpr MemoryNames kV2Memory = {"/memory.current", "/memory.max", "inactive_file", "anon", "pgfault", "pgmajfault"};

void ReadMemory(const std::string& directory, const MemoryNames& names, CgroupStats& stats) {
  std::map<std::string, uint64_t> pairs = ReadPairs(directory + "/memory.stat");
  stats.memory_usage_bytes = ReadNumber(directory + names.usage);
  if (stats.memory_usage_bytes) {
    uint64_t inactive = Find(pairs, names.inactive_file).value_or(0);
    stats.memory_working_set_bytes = *stats.memory_usage_bytes - std::min(inactive, *stats.memory_usage_bytes);
  }
  stats.memory_rss_bytes = Find(pairs, names.rss);
  stats.page_faults = Find(pairs, names.page_faults);
  stats.major_page_faults = Find(pairs, names.major_page_faults);
  stats.memory_limit_bytes = ReadNumber(directory + names.limit);
  if (stats.memory_limit_bytes >= kUnlimited) stats.memory_limit_bytes.reset();
  stats.swap_usage_bytes = ReadNumber(directory + "/memory.swap.current");
  if (!stats.swap_usage_bytes) stats.swap_usage_bytes = Find(pairs, "total_swap");
}

}  // namespace

Result<CgroupStats> ReadCgroupStats(const CgroupLayout& layout, const std::string& cgroup) {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  if (!CgroupExists(layout, cgroup)) return NotFound("cgroup " + cgroup + " is not there");
  CgroupStats stats;
  stats.timestamp = WallNanos();
  if (auto v1 = layout.V1MountPoint("cpuacct")) {
    stats.cpu_usage_nanos = ReadNumber(*v1 + clean + "/cpuacct.usage");
  } else if (auto directory = layout.Directory("cpu", clean)) {
    if (auto micros = Find(ReadPairs(*directory + "/cpu.stat"), "usage_usec")) stats.cpu_usage_nanos = *micros * 1000;
  }
  if (auto v1 = layout.V1MountPoint("memory")) {
    ReadMemory(*v1 + clean, kV1Memory, stats);
  } else if (auto directory = layout.Directory("memory", clean)) {
    ReadMemory(*directory, kV2Memory, stats);
  }
  if (auto directory = layout.Directory("pids", clean)) stats.pids = ReadNumber(*directory + "/pids.current");
  return stats;
}

}  // namespace davit::sys
