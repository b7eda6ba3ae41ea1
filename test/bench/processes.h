// What an engine's processes use, read from /proc.
//
// CPU: utime + stime of the daemon and of what descends from it, plus cutime + cstime, in which the kernel
// adds up children that ended and were waited for: a helper that comes and goes between two looks counts
// all the same. Resolution: one clock tick (10 ms). Not seen: helpers that detach from the daemon and are
// reaped by another process before the second look.
//
// Memory: PSS (proc(5), smaps_rollup): shared pages are divided among those who share them. Memory that the
// kernel keeps for a process (stacks, page tables, cgroups) is not in it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::bench {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string comm;
  uint64_t own_ticks = 0;     // utime + stime
  uint64_t waited_ticks = 0;  // cutime + cstime
  uint64_t start = 0;         // ticks since boot; with the pid it names a process for ever
};
// One line of /proc/PID/stat; comm may hold blanks and brackets.
Result<ProcessInfo> ParseStat(std::string_view line);

using ProcessTable = std::map<pid_t, ProcessInfo>;
ProcessTable ReadProcesses();

// `root` and everything that descends from it.
std::set<pid_t> Descendants(const ProcessTable& table, pid_t root);

// Seconds by the rule above.
double CpuSeconds(const ProcessTable& table, pid_t daemon);

// kNotFound when it has ended.
Result<uint64_t> PssBytes(pid_t pid);

struct MemoryUse {
  double daemon_bytes = 0;
  double helper_bytes = 0;
  size_t helpers = 0;
};
// The daemon, and the processes that it has for its containers since `before`: descendants, processes
// whose command line names one of `ids`, and processes called as in HelperNames(); but none of the
// containers' own, which are in another mount namespace (pause and davit-init are counted: an engine
// without them has none).
MemoryUse ReadMemory(const ProcessTable& before, pid_t daemon, const std::vector<std::string>& ids);
const std::set<std::string>& HelperNames();

}  // namespace davit::bench
