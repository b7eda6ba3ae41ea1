// kill, delete, pause, resume and update: what changes a container that is there.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/oci/loaded.h"
#include "cmd/oci/verbs.h"
#include "native/cgroups.h"
#include "oci/runtime_spec_reader.h"
#include "sys/freezer.h"
#include "sys/signal_names.h"
#include "sys/systemd_limits.h"

namespace davit::oci_cli {
namespace {

constexpr std::chrono::seconds kFreezeTime{10};
constexpr std::chrono::seconds kBusTime{30};

Status SignalAll(const native::Record& record, int signal) {
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  if (!sys::CgroupExists(layout, record.cgroup)) return {};
  ASSIGN_OR_RETURN(std::vector<pid_t> pids, sys::ListProcesses(layout, record.cgroup));
  for (pid_t pid : pids) {
    // By descriptor, and asked once more: the pid may be another's by now.
    Result<sys::PidFd> process = sys::PidFd::Open(pid);
    if (process.ok()) IgnoreError(process->Signal(signal));
  }
  return {};
}

// Version 1: what is frozen does not die before it goes on.
void ThawForDeath(const native::Record& record) {
  Result<sys::CgroupLayout> layout = sys::CgroupLayout::Detect();
  if (layout.ok()) IgnoreError(sys::ThawCgroup(*layout, record.cgroup, Deadline::After(kFreezeTime)));
}

}  // namespace

Status Kill(const Globals& globals, const KillOptions& options) {
  ASSIGN_OR_RETURN(int signal, sys::ParseSignal(options.signal));
  // Without the lock: a start that waits for its hooks must be possible to end.
  ASSIGN_OR_RETURN(Loaded container, Load(globals, options.id));
  if (options.all) {
    RETURN_IF_ERROR(SignalAll(container.record, signal));
  } else {
    if (container.status == native::ContainerStatus::kStopped) return FailedPrecondition("container not running");
    Result<sys::PidFd> first = native::FindProcess(container.record.process);
    if (!first.ok()) return FailedPrecondition("container not running");
    RETURN_IF_ERROR(first->Signal(signal));
  }
  if (signal == SIGKILL && container.status == native::ContainerStatus::kPaused) ThawForDeath(container.record);
  return {};
}

Status Delete(const Globals& globals, const std::string& id, bool force) {
  Result<native::ContainerState> state = native::ContainerState::Open(globals.root, id);
  if (!state.ok()) return force && state.code() == StatusCode::kNotFound ? Status() : state.status();
  Status locked = state->Lock();
  if (!locked.ok()) return force && locked.code() == StatusCode::kNotFound ? Status() : locked;
  Result<native::Record> record = state->Load();
  if (!record.ok()) {
    // Its creation died before anything was made: there is nothing but the directory.
    if (force && record.code() == StatusCode::kNotFound) return state->Remove();
    return record.status();
  }
  native::ContainerStatus status = native::StatusOf(*record, false);
  // One that waits for its start has run nothing of its own: it may go as if it had ended.
  if (!force && (status == native::ContainerStatus::kRunning || status == native::ContainerStatus::kCreating)) {
    return FailedPrecondition(
        fmt::format("cannot delete container {} that is not stopped: {}", id, native::StatusName(status)));
  }
  FaultPoint("oci.delete.before");
  Result<std::string> text = state->LoadConfig();
  Result<oci::RuntimeSpec> spec = text.ok() ? oci::ParseRuntimeSpec(*text) : text.status();
  if (!spec.ok()) LogDebug("no hooks of poststop: {}", spec.status().message());
  return Destroy(*state, *record, spec.ok() ? &*spec : nullptr);
}

Status Pause(const Globals& globals, const std::string& id) {
  ASSIGN_OR_RETURN(Loaded container, LoadLocked(globals, id));
  if (container.status != native::ContainerStatus::kRunning && container.status != native::ContainerStatus::kCreated) {
    return FailedPrecondition(fmt::format("cannot pause a container that is {}", native::StatusName(container.status)));
  }
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  return sys::FreezeCgroup(layout, container.record.cgroup, Deadline::After(kFreezeTime));
}

Status Resume(const Globals& globals, const std::string& id) {
  ASSIGN_OR_RETURN(Loaded container, LoadLocked(globals, id));
  if (container.status != native::ContainerStatus::kPaused) {
    return FailedPrecondition(
        fmt::format("cannot resume a container that is not paused: it is {}", native::StatusName(container.status)));
  }
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  return sys::ThawCgroup(layout, container.record.cgroup, Deadline::After(kFreezeTime));
}

Status Update(const Globals& globals, const UpdateOptions& options) {
  oci::Resources resources = options.changes;
  if (!options.file.empty()) {
    Result<std::string> text = options.file == "-" ? sys::ReadAll(STDIN_FILENO, oci::kMaxRuntimeSpecBytes)
                                                   : sys::ReadFile(options.file, oci::kMaxRuntimeSpecBytes);
    if (!text.ok()) return text.status();
    ASSIGN_OR_RETURN(resources, oci::ParseResources(*text));
  }
  RETURN_IF_ERROR(oci::ValidateResources(resources, "resources"));
  ASSIGN_OR_RETURN(Loaded container, LoadLocked(globals, options.id));
  if (container.status == native::ContainerStatus::kStopped) return FailedPrecondition("container not running");
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  RETURN_IF_ERROR(native::ApplyResources(layout, container.record.cgroup, resources, !resources.devices.empty()));
  if (container.record.systemd) {
    RETURN_IF_ERROR(sys::KeepUnitLimits(layout, container.record.cgroup, Deadline::After(kBusTime)));
  }
  if (!options.l3_cache_schema && !options.mem_bw_schema) return {};
  ASSIGN_OR_RETURN(oci::RuntimeSpec spec, LoadSpec(container));
  oci::IntelRdt rdt;
  if (spec.linux_.intel_rdt) rdt.clos_id = spec.linux_.intel_rdt->clos_id;
  rdt.l3_cache_schema = options.l3_cache_schema.value_or("");
  rdt.mem_bw_schema = options.mem_bw_schema.value_or("");
  ASSIGN_OR_RETURN(std::string made, native::ApplyIntelRdt(rdt, options.id));
  if (!made.empty()) {
    container.record.rdt_group = made;
    RETURN_IF_ERROR(container.state.Save(container.record));
  }
  return native::JoinIntelRdt(rdt, options.id, static_cast<pid_t>(container.record.process.pid));
}

}  // namespace davit::oci_cli
