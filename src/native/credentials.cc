#include "native/credentials.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/strings.h"

namespace davit::native {
namespace {

constexpr int kLastCapability = 63;

Status DropBounding(uint64_t keep) {
  for (int capability = 0; capability <= kLastCapability; ++capability) {
    if ((keep >> capability & 1) != 0) continue;
    int has = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (has < 0) break;  // past the last that this kernel has
    if (has == 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return ErrnoError(errno, "drop from the bounding set");
  }
  return {};
}

Status SetCapabilities(const CapabilityMasks& masks) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (unsigned i = 0; i < 2; ++i) {
    data.at(i).effective = static_cast<uint32_t>(masks.effective >> (32 * i));
    data.at(i).permitted = static_cast<uint32_t>(masks.permitted >> (32 * i));
    data.at(i).inheritable = static_cast<uint32_t>(masks.inheritable >> (32 * i));
  }
  if (::syscall(SYS_capset, &header, data.data()) != 0) return ErrnoError(errno, "capset");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL) {
    return ErrnoError(errno, "clear the ambient set");
  }
  for (int capability = 0; capability <= kLastCapability; ++capability) {
    if ((masks.ambient >> capability & 1) == 0) continue;
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
      return ErrnoError(errno, "raise ambient capability " + std::to_string(capability));
    }
  }
  return {};
}

Status SetGroups(const oci::User& user) {
  std::vector<gid_t> groups(user.additional_gids.begin(), user.additional_gids.end());
  // Refused in a user namespace that has given setgroups(2) up; then there are none to be taken away either.
  if (::syscall(SYS_setgroups, groups.size(), groups.data()) != 0 && !(errno == EPERM && groups.empty())) {
    return ErrnoError(errno, "process.user.additionalGids");
  }
  if (::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0) {
    return ErrnoError(errno, "process.user.gid " + std::to_string(user.gid));
  }
  return {};
}

// The module's own directory where it is (several modules at a time), else the one for whichever is there.
Status WriteAttribute(const Procfs& procfs, const std::string& own, const std::string& text) {
  if (!own.empty()) {
    Status written = procfs.WriteOwn(own, text);
    if (written.code() != StatusCode::kNotFound) return written;
  }
  return procfs.WriteOwn("attr/exec", text);
}

}  // namespace

Status BecomeRoot() {
  // Not mapped (EINVAL): the process stays whom it is shown as; it has all capabilities in its namespace anyway.
  if (::syscall(SYS_setresgid, 0, 0, 0) != 0 && errno != EINVAL) return ErrnoError(errno, "become group 0");
  if (::syscall(SYS_setresuid, 0, 0, 0) != 0 && errno != EINVAL) return ErrnoError(errno, "become user 0");
  return {};
}

Status ApplyKernelSettings(const ProcessPlan& plan) {
  if (plan.scheduler && ::syscall(SYS_sched_setattr, 0, &*plan.scheduler, 0U) != 0) {
    return ErrnoError(errno, "process.scheduler");
  }
  constexpr int kProcess = 1;  // IOPRIO_WHO_PROCESS
  if (plan.io_priority && ::syscall(SYS_ioprio_set, kProcess, 0, *plan.io_priority) != 0) {
    return ErrnoError(errno, "process.ioPriority");
  }
  if (plan.memory_policy) {
    const std::vector<unsigned long>& nodes = plan.memory_policy->nodes;
    unsigned long bits = nodes.size() * 8 * sizeof(unsigned long);
    if (::syscall(SYS_set_mempolicy, plan.memory_policy->mode, nodes.empty() ? nullptr : nodes.data(),
                  nodes.empty() ? 0UL : bits + 1) != 0) {
      return ErrnoError(errno, "linux.memoryPolicy");
    }
  }
  if (plan.personality && ::personality(*plan.personality) < 0) return ErrnoError(errno, "linux.personality");
  for (const auto& [resource, limit] : plan.rlimits) {
    if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) {
      return ErrnoError(errno, "process.rlimits: limit " + std::to_string(limit.rlim_cur) + " to " +
                                   std::to_string(limit.rlim_max) + " of resource " + std::to_string(resource));
    }
  }
  return {};
}

Status SetSecurityLabels(const Procfs& procfs, const oci::Process& process) {
  if (!process.apparmor_profile.empty() && process.apparmor_profile != "unconfined") {
    RETURN_IF_ERROR(WriteAttribute(procfs, "attr/apparmor/exec", "exec " + process.apparmor_profile)
                        .Annotate("process.apparmorProfile"));
  }
  if (process.selinux_label.empty()) return {};
  return WriteAttribute(procfs, "", process.selinux_label).Annotate("process.selinuxLabel");
}

Status JoinKeyring(const std::string& name) {
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.c_str(), 0, 0, 0) >= 0) return {};
  if (errno == ENOSYS || errno == EPERM || errno == EACCES) return {};
  return ErrnoError(errno, "join session keyring " + Printable(name));
}

Status TakeCredentials(const oci::Process& process, const CapabilityMasks& masks) {
  RETURN_IF_ERROR(DropBounding(masks.bounding));
  // Without it a change from root to a user empties the permitted set.
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return ErrnoError(errno, "keep capabilities");
  RETURN_IF_ERROR(SetGroups(process.user));
  if (::syscall(SYS_setresuid, process.user.uid, process.user.uid, process.user.uid) != 0) {
    return ErrnoError(errno, "process.user.uid " + std::to_string(process.user.uid));
  }
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return ErrnoError(errno, "keep capabilities no longer");
  // The change of user has made it what fs.suid_dumpable says; it stays out of reach until its exec. A filter may
  // refuse.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  ::umask(process.user.umask.value_or(022));
  return SetCapabilities(masks);
}

}  // namespace davit::native
