// Which cgroup driver davitd uses: decided once, at start.
#pragma once

#include <string>

#include "base/result.h"

namespace davit::engine {

struct SystemdFacts {
  bool booted = false;  // it is process 1
  Status bus;           // why its bus does not answer; OK when it does
};

// Of this node; waits a few seconds for a bus that is just starting.
SystemdFacts LookForSystemd();

// `driver` is runtime.cgroup_driver: "auto", "systemd" or "cgroupfs". True for systemd. kFailedPrecondition
// saying what to change when the driver asked for cannot work here. Pure but for a warning in the log.
Result<bool> UseSystemdCgroups(const std::string& driver, const SystemdFacts& facts);

}  // namespace davit::engine
