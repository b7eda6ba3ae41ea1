// What davitd asks of systemd over the system bus: transient scopes and their end.
//
// Each call is a connection of its own: they are rare (a pod's init, a removal), may be made from any
// thread, and a bus that was restarted needs no care. All block until the deadline.
//
// Source: org.freedesktop.systemd1(5), "The Manager Object"; sd-bus(3). Link davit_systemd.
// Errors: kUnavailable when the bus or systemd does not answer, kInternal when systemd refuses.
#pragma once

#include <sys/types.h>

#include <string>

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

// Ends a scope or a slice, with every process in it, and forgets that it may have failed. OK when there is
// no such unit. Returns when systemd has done it.
Status StopUnit(const std::string& unit, Deadline deadline);

}  // namespace davit::sys
