// What davitd asks of systemd over the system bus: transient scopes and their end.
//
// Each call is a connection of its own: they are rare (a pod's init, a removal), may be made from any
// thread, and a bus that was restarted needs no care. All block until the deadline.
//
// Source: org.freedesktop.systemd1(5), "The Manager Object"; sd-bus(3). Link davit_systemd.
// Errors: kUnavailable when the bus or systemd does not answer, kInternal when systemd refuses.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"

namespace davit::sys {

// systemd is process 1 here (sd_booted(3)). Says nothing about the bus.
[[nodiscard]] bool IsSystemdBooted();

// The manager's version, "252.39": that it comes shows that the bus answers.
Result<std::string> SystemdVersion(Deadline deadline);

// Makes the scope whose cgroup is `cgroup` (a path for which IsScope() holds) with `pid` in it, and the
// slices above it where they are missing. The scope is delegated: davitd and the OCI runtime arrange what
// is below. It ends by itself with its last process. Returns when systemd has made it.
Status StartScope(const std::string& cgroup, const std::string& description, pid_t pid, Deadline deadline);

// Makes the slice, and those above it, if it is not there. Its cgroup has the files for memory and CPU: systemd
// turns on only the controllers that a unit has a use for.
Status StartSlice(const std::string& unit, const std::string& description, Deadline deadline);

// systemd.resource-control(5), for cgroup version 2. What is not set stays as it is.
struct UnitLimits {
  std::optional<uint64_t> memory_min;  // bytes; kNoLimit, as with the next three
  std::optional<uint64_t> memory_low;
  std::optional<uint64_t> memory_high;
  std::optional<uint64_t> memory_max;
  std::optional<uint64_t> swap_max;              // bytes of swap alone; kNoLimit
  std::optional<uint64_t> cpu_weight;            // 1..10000
  std::optional<uint64_t> cpu_quota_per_second;  // microseconds; kNoLimit
  std::optional<uint64_t> cpu_period;            // microseconds
  std::optional<std::vector<uint8_t>> cpus;      // bit n of byte n/8: cpu n
  std::optional<std::vector<uint8_t>> memory_nodes;
  std::optional<uint64_t> tasks;  // processes and threads; kNoLimit

  static constexpr uint64_t kNoLimit = UINT64_MAX;
};

// The limits as properties of the unit until the next boot. systemd writes its own idea of a unit's limits
// whenever it looks at the unit anew (daemon-reload): what davitd writes to the files alone would be undone.
// kNotFound when there is no such unit.
Status SetUnitLimits(const std::string& unit, const UnitLimits& limits, Deadline deadline);

// Ends a scope or a slice, with every process in it, and forgets that it may have failed. OK when there is
// no such unit. Returns when systemd has done it.
Status StopUnit(const std::string& unit, Deadline deadline);

}  // namespace davit::sys
