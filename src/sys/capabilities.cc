#include "sys/capabilities.h"

#include <sys/prctl.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

// capabilities(7), in number order.
constexpr std::array<std::string_view, 41> kNames = {"CAP_CHOWN",
                                                     "CAP_DAC_OVERRIDE",
                                                     "CAP_DAC_READ_SEARCH",
                                                     "CAP_FOWNER",
                                                     "CAP_FSETID",
                                                     "CAP_KILL",
                                                     "CAP_SETGID",
                                                     "CAP_SETUID",
                                                     "CAP_SETPCAP",
                                                     "CAP_LINUX_IMMUTABLE",
                                                     "CAP_NET_BIND_SERVICE",
                                                     "CAP_NET_BROADCAST",
                                                     "CAP_NET_ADMIN",
                                                     "CAP_NET_RAW",
                                                     "CAP_IPC_LOCK",
                                                     "CAP_IPC_OWNER",
                                                     "CAP_SYS_MODULE",
                                                     "CAP_SYS_RAWIO",
                                                     "CAP_SYS_CHROOT",
                                                     "CAP_SYS_PTRACE",
                                                     "CAP_SYS_PACCT",
                                                     "CAP_SYS_ADMIN",
                                                     "CAP_SYS_BOOT",
                                                     "CAP_SYS_NICE",
                                                     "CAP_SYS_RESOURCE",
                                                     "CAP_SYS_TIME",
                                                     "CAP_SYS_TTY_CONFIG",
                                                     "CAP_MKNOD",
                                                     "CAP_LEASE",
                                                     "CAP_AUDIT_WRITE",
                                                     "CAP_AUDIT_CONTROL",
                                                     "CAP_SETFCAP",
                                                     "CAP_MAC_OVERRIDE",
                                                     "CAP_MAC_ADMIN",
                                                     "CAP_SYSLOG",
                                                     "CAP_WAKE_ALARM",
                                                     "CAP_BLOCK_SUSPEND",
                                                     "CAP_AUDIT_READ",
                                                     "CAP_PERFMON",
                                                     "CAP_BPF",
                                                     "CAP_CHECKPOINT_RESTORE"};

// How many the running kernel has, as far as this table knows them.
size_t KnownCount() {
  Result<std::string> text = ReadFile("/proc/sys/kernel/cap_last_cap", 64);
  if (!text.ok()) return kNames.size();
  auto last = ParseUint64(Trim(*text));
  return last && *last + 1 < kNames.size() ? static_cast<size_t>(*last) + 1 : kNames.size();
}

}  // namespace

std::vector<std::string> KnownCapabilities() {
  return {kNames.begin(), kNames.begin() + static_cast<ptrdiff_t>(KnownCount())};
}

Result<std::vector<std::string>> BoundingCapabilities() {
  std::vector<std::string> held;
  size_t count = KnownCount();
  for (size_t i = 0; i < count; ++i) {
    int in_set = ::prctl(PR_CAPBSET_READ, i, 0UL, 0UL, 0UL);
    if (in_set < 0) return ErrnoError(errno, "read bounding set of " + std::string(kNames[i]));
    if (in_set == 1) held.emplace_back(kNames[i]);
  }
  return held;
}

}  // namespace davit::sys
