// exec: one more process in a container that runs.
#include "native/exec.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/strings.h"
#include "cmd/oci/foreground.h"
#include "cmd/oci/loaded.h"
#include "cmd/oci/verbs.h"
#include "native/cgroups.h"
#include "oci/runtime_spec_reader.h"
#include "sys/atomic_file.h"

namespace davit::oci_cli {
namespace {

Status SetUser(oci::Process& process, const std::string& text) {
  std::vector<std::string> parts = Split(text, ':');
  std::optional<uint64_t> uid = ParseUint64(parts[0]);
  std::optional<uint64_t> gid = parts.size() > 1 ? ParseUint64(parts[1]) : uint64_t{process.user.gid};
  if (parts.size() > 2 || !uid || !gid || *uid >= UINT32_MAX || *gid >= UINT32_MAX) {
    return InvalidArgument(fmt::format("--user \"{}\": expected UID[:GID] as numbers", Printable(text)));
  }
  process.user.uid = static_cast<uint32_t>(*uid);
  process.user.gid = static_cast<uint32_t>(*gid);
  return {};
}

void AddCapabilities(oci::Process& process, const std::vector<std::string>& caps) {
  if (caps.empty()) return;
  if (!process.capabilities) process.capabilities.emplace();
  oci::CapabilitySets& sets = *process.capabilities;
  // Not inheritable and ambient: they would reach programs that nobody has named (CVE-2022-24769).
  for (std::vector<std::string>* set : {&sets.bounding, &sets.effective, &sets.permitted}) {
    for (const std::string& cap : caps) {
      if (std::find(set->begin(), set->end(), cap) == set->end()) set->push_back(cap);
    }
  }
}

Result<oci::Process> ProcessOf(const ExecOptions& options, const oci::RuntimeSpec& spec) {
  if (!options.process.empty()) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(options.process, oci::kMaxRuntimeSpecBytes));
    return oci::ParseProcess(text);
  }
  if (options.args.empty()) return InvalidArgument("exec needs a program, or --process");
  oci::Process process = spec.process;
  process.args = options.args;
  process.terminal = options.tty;
  process.console_size.reset();
  if (!options.cwd.empty()) process.cwd = options.cwd;
  process.env.insert(process.env.end(), options.env.begin(), options.env.end());
  if (!options.user.empty()) RETURN_IF_ERROR(SetUser(process, options.user));
  process.user.additional_gids.insert(process.user.additional_gids.end(), options.additional_gids.begin(),
                                      options.additional_gids.end());
  AddCapabilities(process, options.caps);
  if (!options.apparmor.empty()) process.apparmor_profile = options.apparmor;
  if (!options.process_label.empty()) process.selinux_label = options.process_label;
  if (options.no_new_privs) process.no_new_privileges = true;
  return process;
}

// The container's cgroup, or one below it. In version 2 a container may have moved its own processes into cgroups below
// and turned controllers on, after which its own takes none (cgroup-v2.rst, "No Internal Process Constraint"): then the
// one where its first process is.
Result<std::string> CgroupOf(const native::Record& record, const sys::CgroupLayout& layout,
                             const std::vector<std::string>& asked) {
  if (!asked.empty()) {
    // runc takes controllers before a colon, for version 1. All hierarchies are alike here.
    std::string below = asked.back().substr(asked.back().rfind(':') + 1);
    if (below.empty() || below[0] != '/') below.insert(0, "/");
    ASSIGN_OR_RETURN_WITH(std::string clean, sys::CleanCgroupPath(below), "--cgroup");
    if (!sys::CgroupExists(layout, record.cgroup + clean)) {
      return NotFound(fmt::format("--cgroup {}: the container has no such cgroup", Printable(below)));
    }
    return record.cgroup + clean;
  }
  if (layout.mode() != sys::CgroupMode::kUnified) return record.cgroup;
  Result<std::string> enabled =
      sys::ReadFile(layout.unified_mount_point() + record.cgroup + "/cgroup.subtree_control", 4096);
  if (!enabled.ok() || Trim(*enabled).empty()) return record.cgroup;
  Result<std::string> own = sys::ReadFile(fmt::format("/proc/{}/cgroup", record.process.pid), 1 << 16);
  if (!own.ok()) return record.cgroup;
  for (const std::string& line : Split(Trim(*own), '\n')) {
    if (line.rfind("0::", 0) != 0) continue;
    std::string path = line.substr(3);
    bool below = path.rfind(record.cgroup + "/", 0) == 0;
    return below ? path : record.cgroup;
  }
  return record.cgroup;
}

Status CheckExec(const Loaded& container, bool ignore_paused) {
  switch (container.status) {
    case native::ContainerStatus::kStopped:
    case native::ContainerStatus::kCreating:
      return FailedPrecondition(
          fmt::format("cannot exec in a container that is {}", native::StatusName(container.status)));
    case native::ContainerStatus::kPaused:
      if (!ignore_paused) {
        return FailedPrecondition("cannot exec in a paused container (use --ignore-paused to override)");
      }
      return {};
    default:
      return {};
  }
}

}  // namespace

Result<int> Exec(const Globals& globals, const ExecOptions& options) {
  // Without the lock: what is there is only joined, and execs must not wait for one another.
  ASSIGN_OR_RETURN(Loaded container, Load(globals, options.id));
  RETURN_IF_ERROR(CheckExec(container, options.ignore_paused));
  ASSIGN_OR_RETURN(oci::RuntimeSpec spec, LoadSpec(container));
  ASSIGN_OR_RETURN(oci::Process process, ProcessOf(options, spec));
  if (options.tty) process.terminal = true;
  ASSIGN_OR_RETURN(Console console, MakeConsole(process.terminal, options.detach, options.console_socket));
  ASSIGN_OR_RETURN(sys::PidFd first, native::FindProcess(container.record.process));
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  ASSIGN_OR_RETURN(std::string cgroup, CgroupOf(container.record, layout, options.cgroups));
  ASSIGN_OR_RETURN(native::CgroupDoors doors, native::OpenCgroupDoors(layout, cgroup));
  native::ExecOptions how;
  how.id = options.id;
  how.init_pid = static_cast<pid_t>(container.record.process.pid);
  how.init_pidfd = first.fd();
  how.cgroup = doors.entry();
  how.console = console.socket.get();
  how.preserve_fds = options.preserve_fds;
  how.no_new_keyring = options.no_new_keyring;
  ASSIGN_OR_RETURN(native::Created created, native::ExecInContainer(spec, process, how));
  if (!options.pid_file.empty()) {
    RETURN_IF_ERROR(
        sys::WriteFileAtomic(options.pid_file, std::to_string(created.pid), 0644, sys::Durability::kAtomic));
  }
  if (options.detach) return 0;
  ASSIGN_OR_RETURN(sys::PidFd pidfd, sys::PidFd::Open(created.pid));
  return WaitInForeground(pidfd, console.receiver);
}

}  // namespace davit::oci_cli
