#include "cmd/oci/loaded.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>

#include "base/log.h"
#include "native/hooks.h"
#include "oci/runtime_spec_reader.h"
#include "sys/freezer.h"
#include "sys/systemd_bus.h"
#include "sys/systemd_names.h"

namespace davit::oci_cli {
namespace {

constexpr std::chrono::seconds kKillTime{10};
constexpr std::chrono::seconds kBusTime{30};

native::ContainerStatus StatusNow(const native::Record& record) {
  native::ContainerStatus status = native::StatusOf(record, false);
  if (status != native::ContainerStatus::kRunning) return status;
  Result<sys::CgroupLayout> layout = sys::CgroupLayout::Detect();
  if (!layout.ok()) return status;
  Result<bool> frozen = sys::IsCgroupFrozen(*layout, record.cgroup);
  return native::StatusOf(record, frozen.ok() && *frozen);
}

Status KillFirst(const native::Record& record) {
  Result<sys::PidFd> first = native::FindProcess(record.process);
  if (!first.ok()) return {};
  RETURN_IF_ERROR(first->Signal(SIGKILL));
  if (first->WaitEnded(Deadline::After(kKillTime))) return {};
  return DeadlineExceeded(fmt::format("process {} does not end", record.process.pid));
}

// poll(2) calls a process ended when it is a zombie, and its parent may be slow to reap; the cgroup is empty then.
Status EndCgroup(const native::Record& record) {
  if (record.cgroup.empty()) return {};
  ASSIGN_OR_RETURN(sys::CgroupLayout layout, sys::CgroupLayout::Detect());
  if (sys::CgroupExists(layout, record.cgroup)) {
    RETURN_IF_ERROR(sys::KillCgroup(layout, record.cgroup, Deadline::After(kKillTime)));
  }
  if (record.systemd) {
    RETURN_IF_ERROR(sys::StopUnit(sys::UnitName(record.cgroup), Deadline::After(kBusTime)));
  }
  return sys::RemoveCgroup(layout, record.cgroup);
}

}  // namespace

Result<Loaded> Load(const Globals& globals, const std::string& id) {
  ASSIGN_OR_RETURN(native::ContainerState state, native::ContainerState::Open(globals.root, id));
  ASSIGN_OR_RETURN(native::Record record, state.Load());
  native::ContainerStatus status = StatusNow(record);
  return Loaded{std::move(state), std::move(record), status};
}

Result<Loaded> LoadLocked(const Globals& globals, const std::string& id) {
  ASSIGN_OR_RETURN(native::ContainerState state, native::ContainerState::Open(globals.root, id));
  RETURN_IF_ERROR(state.Lock());
  ASSIGN_OR_RETURN(native::Record record, state.Load());
  native::ContainerStatus status = StatusNow(record);
  return Loaded{std::move(state), std::move(record), status};
}

Result<oci::RuntimeSpec> LoadSpec(const Loaded& container) {
  ASSIGN_OR_RETURN(std::string text, container.state.LoadConfig());
  return oci::ParseRuntimeSpec(text);
}

Status Destroy(const native::ContainerState& state, const native::Record& record, const oci::RuntimeSpec* spec) {
  RETURN_IF_ERROR(KillFirst(record));
  RETURN_IF_ERROR(EndCgroup(record));
  if (!record.rdt_group.empty() && ::rmdir(record.rdt_group.c_str()) != 0 && errno != ENOENT) {
    return ErrnoError(errno, "remove " + record.rdt_group);
  }
  if (spec != nullptr) {
    std::string json = native::StateJson(record, native::ContainerStatus::kStopped, 0);
    // runtime.md, "Lifecycle": what fails is a warning, and the container goes all the same.
    for (const std::string& failure : native::RunAllHooks(spec->hooks.poststop, "poststop", json)) {
      LogWarning("{}", failure);
    }
  }
  return state.Remove();
}

}  // namespace davit::oci_cli
