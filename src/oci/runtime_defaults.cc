#include <fmt/format.h>

#include "oci/runtime_spec.h"

namespace davit::oci {

std::vector<SpecMount> DefaultMounts() {
  return {
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}, {}, {}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}, {}, {}},
      // Group 5 is "tty" in every distribution; glibc's grantpt(3) wants it.
      {"/dev/pts",
       "devpts",
       "devpts",
       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
       {},
       {}},
      {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}, {}, {}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}, {}, {}},
      {"/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}, {}, {}},
  };
}

std::vector<std::string> DefaultMaskedPaths(unsigned cpus) {
  std::vector<std::string> paths = {
      "/proc/acpi",
      "/proc/asound",
      "/proc/interrupts",
      "/proc/kcore",
      "/proc/keys",
      "/proc/latency_stats",
      "/proc/sched_debug",
      "/proc/scsi",
      "/proc/timer_list",
      "/proc/timer_stats",
      "/sys/devices/virtual/powercap",
      "/sys/firmware",
  };
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    paths.push_back(fmt::format("/sys/devices/system/cpu/cpu{}/thermal_throttle", cpu));
  }
  return paths;
}

std::vector<std::string> DefaultReadonlyPaths() {
  return {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
}

std::vector<std::string> DefaultCapabilities() {
  return {"CAP_AUDIT_WRITE", "CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",    "CAP_FSETID",
          "CAP_KILL",        "CAP_MKNOD",   "CAP_NET_BIND_SERVICE", "CAP_NET_RAW",   "CAP_SETFCAP",
          "CAP_SETGID",      "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT"};
}

std::vector<DeviceRule> DefaultDeviceRules() {
  return {
      {false, 'a', std::nullopt, std::nullopt, "rwm"},
      {true, 'c', std::nullopt, std::nullopt, "m"},
      {true, 'b', std::nullopt, std::nullopt, "m"},
      {true, 'c', 1, 3, "rwm"},               // null
      {true, 'c', 1, 5, "rwm"},               // zero
      {true, 'c', 1, 7, "rwm"},               // full
      {true, 'c', 1, 8, "rwm"},               // random
      {true, 'c', 1, 9, "rwm"},               // urandom
      {true, 'c', 5, 0, "rwm"},               // tty
      {true, 'c', 5, 1, "rwm"},               // console
      {true, 'c', 5, 2, "rwm"},               // ptmx
      {true, 'c', 136, std::nullopt, "rwm"},  // pts/*
  };
}

std::vector<DeviceRule> AllowAllDevices() { return {{true, 'a', std::nullopt, std::nullopt, "rwm"}}; }

}  // namespace davit::oci
