#include "privileges.h"

#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <initializer_list>

namespace davit::pull {
namespace {

constexpr std::initializer_list<int> kKept = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER,   CAP_FSETID,
                                              CAP_MKNOD, CAP_SETFCAP,      CAP_SYS_ADMIN};

uint64_t KeptMask() {
  uint64_t mask = 0;
  for (int capability : kKept) mask |= uint64_t{1} << capability;
  return mask;
}

}  // namespace

Status DropPrivileges() {
  // By number: <linux/mount.h> here and the C library's <sys/mount.h> do not go into one file.
  if (::unshare(CLONE_NEWNS) == 0) {
    if (::syscall(SYS_mount, nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return ErrnoError(errno, "make mounts private");
  } else if (errno != EPERM) {
    return ErrnoError(errno, "unshare the mount namespace");
  }
  rlimit no_core{0, 0};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0) return ErrnoError(errno, "setrlimit RLIMIT_CORE");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ErrnoError(errno, "prctl PR_SET_DUMPABLE");
  const uint64_t kept = KeptMask();
  for (int capability = 0; capability < 64; ++capability) {
    if ((kept >> capability & 1) != 0) continue;
    // EINVAL: past the kernel's last; EPERM: no CAP_SETPCAP, then there is nothing to shrink it with.
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL && errno != EPERM) {
      return ErrnoError(errno, "prctl PR_CAPBSET_DROP");
    }
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  // capset(2): no wrapper in glibc, and libcap would be a library for two calls.
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return ErrnoError(errno, "capget");
  for (int i = 0; i < 2; ++i) {
    auto mask = static_cast<uint32_t>(kept >> (32 * i));
    data[i].permitted &= mask;
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  if (::syscall(SYS_capset, &header, data) != 0) return ErrnoError(errno, "capset");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ErrnoError(errno, "prctl PR_SET_NO_NEW_PRIVS");
  return {};
}

void LeaveNetwork() {
  // Both are hardening: where the kernel refuses, the verdict is the same.
  IgnoreError(::unshare(CLONE_NEWNET) == 0 ? Status() : ErrnoError(errno, "unshare"));
  // gpg's homes are in memory, and gone with this process's mount namespace.
  if (::syscall(SYS_mount, "tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700,size=64m") != 0)
    return;
}

}  // namespace davit::pull
