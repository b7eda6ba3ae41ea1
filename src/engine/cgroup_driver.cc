#include "engine/cgroup_driver.h"

#include "base/log.h"
#include "sys/systemd_bus.h"

namespace davit::engine {

SystemdFacts LookForSystemd() {
  SystemdFacts facts;
  facts.booted = sys::IsSystemdBooted();
  if (facts.booted) facts.bus = sys::SystemdVersion(Deadline::After(std::chrono::seconds(5))).status();
  return facts;
}

Result<bool> UseSystemdCgroups(const std::string& driver, const SystemdFacts& facts) {
  if (driver == "cgroupfs") return false;
  const bool must = driver == "systemd";
  if (!facts.booted) {
    if (!must) return false;
    return FailedPrecondition(
        "runtime.cgroup_driver = \"systemd\", but systemd is not process 1 here: set it to \"cgroupfs\", and the "
        "kubelet's cgroupDriver too");
  }
  if (facts.bus.ok()) return true;
  if (must) {
    return FailedPrecondition("runtime.cgroup_driver = \"systemd\", but systemd cannot be reached (" +
                              facts.bus.message() + "): start dbus.socket, or set the driver to \"cgroupfs\"");
  }
  LogWarning("cgroup driver: cgroupfs, though systemd is process 1: {}; start dbus.socket before davitd",
             facts.bus.message());
  return false;
}

}  // namespace davit::engine
