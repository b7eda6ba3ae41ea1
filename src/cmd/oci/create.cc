// create, run and start.
//
// The order is the one of runtime.md, "Lifecycle", with a record before each thing that outlives this program.
#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "cmd/oci/foreground.h"
#include "cmd/oci/loaded.h"
#include "cmd/oci/scope.h"
#include "cmd/oci/verbs.h"
#include "native/cgroups.h"
#include "native/container.h"
#include "native/hooks.h"
#include "native/network_devices.h"
#include "oci/runtime_spec_reader.h"
#include "sys/atomic_file.h"
#include "sys/systemd_limits.h"
#include "sys/unix_socket.h"

namespace davit::oci_cli {
namespace {

constexpr std::chrono::seconds kBusTime{30};
constexpr int kMaxPassedFds = 1024;

struct Bundle {
  std::string directory;  // absolute, no links
  std::string text;       // config.json as it is
  oci::RuntimeSpec spec;
};

Result<Bundle> ReadBundle(const std::string& path) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) return ErrnoError(errno, "bundle " + path);
  Bundle bundle;
  bundle.directory = resolved;
  ASSIGN_OR_RETURN(bundle.text, sys::ReadFile(bundle.directory + "/config.json", oci::kMaxRuntimeSpecBytes));
  ASSIGN_OR_RETURN_WITH(bundle.spec, oci::ParseRuntimeSpec(bundle.text), "config.json");
  return bundle;
}

std::string OwnerName() {
  const passwd* entry = ::getpwuid(::geteuid());
  return entry != nullptr ? entry->pw_name : std::to_string(::geteuid());
}

// Sockets of systemd's socket activation go into the container as they came, and their number with them.
int PassedSockets(oci::RuntimeSpec& spec) {
  const char* pid = ::getenv("LISTEN_PID");
  const char* count = ::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || ParseInt64(pid).value_or(0) != ::getpid()) return 0;
  int64_t number = ParseInt64(count).value_or(0);
  if (number <= 0 || number > kMaxPassedFds) return 0;
  spec.process.env.push_back(fmt::format("LISTEN_FDS={}", number));
  spec.process.env.emplace_back("LISTEN_PID=1");
  return static_cast<int>(number);
}

// One creation, step by step. What it has made is in the record, so that Destroy() is the way back from each.
class Creation {
 public:
  Creation(const Globals& globals, const CreateOptions& options) : globals_(globals), options_(options) {}

  // `detach`: nobody stays in the foreground.
  Status Prepare(bool detach) {
    ASSIGN_OR_RETURN(bundle_, ReadBundle(options_.bundle));
    preserved_ = options_.preserve_fds + PassedSockets(bundle_.spec);
    RETURN_IF_ERROR(native::CheckSpec(bundle_.spec));
    ASSIGN_OR_RETURN(console_, MakeConsole(bundle_.spec.process.terminal, detach, options_.console_socket));
    ASSIGN_OR_RETURN(layout_, sys::CgroupLayout::Detect());
    ASSIGN_OR_RETURN(place_,
                     native::CgroupPlaceOf(bundle_.spec.linux_.cgroups_path, options_.id, globals_.systemd_cgroup));
    return {};
  }

  Result<native::Created> Make() {
    ASSIGN_OR_RETURN(native::ContainerState state, native::ContainerState::Create(globals_.root, options_.id));
    state_.emplace(std::move(state));
    FaultPoint("oci.create.directory");
    // Before the cgroup is in the record, whose end is the end of everything in it.
    if (Status free = native::CheckCgroupIsFree(layout_, place_); !free.ok()) {
      Status undo = state_->Remove();
      return undo.ok() ? free : free.WithUndoError(undo);
    }
    Result<native::Created> created = MakeRecorded();
    if (created.ok()) return created;
    // The hooks of poststop belong to a container that was there.
    const oci::RuntimeSpec* spec = record_.process.pid != 0 ? &bundle_.spec : nullptr;
    Status undo = Destroy(*state_, record_, spec);
    return undo.ok() ? created.status() : created.status().WithUndoError(undo);
  }

  [[nodiscard]] const sys::UniqueFd& receiver() const { return console_.receiver; }
  // Another verb may go on with it.
  void Unlock() { state_.reset(); }

 private:
  Result<native::Created> MakeRecorded() {
    const oci::RuntimeSpec& spec = bundle_.spec;
    record_.id = options_.id;
    record_.bundle = bundle_.directory;
    record_.rootfs = spec.root.path[0] == '/' ? spec.root.path : bundle_.directory + "/" + spec.root.path;
    record_.owner = OwnerName();
    record_.created = FormatRfc3339Nano(WallNanos());
    record_.oci_version = spec.oci_version;
    record_.annotations = spec.annotations;
    ASSIGN_OR_RETURN(record_.creator, native::NameOf(::getpid()));
    record_.cgroup = place_.cgroup;
    record_.systemd = place_.systemd;
    RETURN_IF_ERROR(state_->SaveConfig(bundle_.text));
    RETURN_IF_ERROR(state_->Save(record_));
    FaultPoint("oci.create.recorded");
    return MakeProcess();
  }

  Status MakeCgroup(std::optional<ScopeKeeper>& keeper) {
    if (place_.systemd) {
      ASSIGN_OR_RETURN(ScopeKeeper made, ScopeKeeper::Make(place_.cgroup, "container " + options_.id));
      keeper.emplace(std::move(made));
    }
    RETURN_IF_ERROR(sys::CreateCgroup(layout_, place_.cgroup).status());
    FaultPoint("oci.create.cgroup");
    RETURN_IF_ERROR(native::ApplyResources(layout_, place_.cgroup, bundle_.spec.linux_.resources, true));
    if (place_.systemd) {
      RETURN_IF_ERROR(sys::KeepUnitLimits(layout_, place_.cgroup, Deadline::After(kBusTime)));
    }
    if (!bundle_.spec.linux_.intel_rdt) return {};
    ASSIGN_OR_RETURN(record_.rdt_group, native::ApplyIntelRdt(*bundle_.spec.linux_.intel_rdt, options_.id));
    return record_.rdt_group.empty() ? Status() : state_->Save(record_);
  }

  Result<native::Created> MakeProcess() {
    std::optional<ScopeKeeper> keeper;
    RETURN_IF_ERROR(MakeCgroup(keeper));
    ASSIGN_OR_RETURN(native::CgroupDoors doors, native::OpenCgroupDoors(layout_, place_.cgroup));
    ASSIGN_OR_RETURN(sys::UniqueFd listener, sys::ListenUnix(state_->StartSocket(), SOCK_SEQPACKET));
    native::CreateOptions how;
    how.id = options_.id;
    how.bundle = bundle_.directory;
    how.cgroup = doors.entry();
    how.console = console_.socket.get();
    how.start_listener = listener.get();
    how.preserve_fds = preserved_;
    how.no_pivot = options_.no_pivot;
    how.no_new_keyring = options_.no_new_keyring;
    how.create_runtime = [this](pid_t pid) { return CreateRuntime(pid); };
    const oci::Hooks& hooks = bundle_.spec.hooks;
    if (!hooks.create_container.empty()) {
      how.create_container = [this, &hooks](pid_t pid) {
        return native::RunHooks(hooks.create_container, "createContainer",
                                native::StateJson(record_, native::ContainerStatus::kCreating, pid));
      };
    }
    if (!hooks.start_container.empty()) {
      how.start_container = [this, &hooks](pid_t pid) {
        return native::RunHooks(hooks.start_container, "startContainer",
                                native::StateJson(record_, native::ContainerStatus::kCreated, pid));
      };
    }
    ASSIGN_OR_RETURN(native::Created created, native::CreateContainer(bundle_.spec, how));
    FaultPoint("oci.create.process");
    Status finished = Finish(created);
    if (!finished.ok()) return finished;
    return created;
  }

  // In this process, once the namespaces are there.
  Status CreateRuntime(pid_t pid) {
    ASSIGN_OR_RETURN(record_.process, native::NameOf(pid));
    RETURN_IF_ERROR(state_->Save(record_));
    FaultPoint("oci.create.namespaces");
    const oci::RuntimeSpec& spec = bundle_.spec;
    if (spec.linux_.intel_rdt) {
      RETURN_IF_ERROR(native::JoinIntelRdt(*spec.linux_.intel_rdt, options_.id, pid));
    }
    if (!spec.linux_.net_devices.empty()) {
      RETURN_IF_ERROR(native::MoveNetworkDevices(spec.linux_.net_devices, pid));
    }
    if (spec.hooks.prestart.empty() && spec.hooks.create_runtime.empty()) return {};
    std::string json = native::StateJson(record_, native::ContainerStatus::kCreating, pid);
    RETURN_IF_ERROR(native::RunHooks(spec.hooks.prestart, "prestart", json));
    return native::RunHooks(spec.hooks.create_runtime, "createRuntime", json);
  }

  Status Finish(const native::Created& created) {
    ASSIGN_OR_RETURN(record_.process, native::NameOf(created.pid));
    record_.phase = native::Phase::kCreated;
    if (!options_.pid_file.empty()) {
      RETURN_IF_ERROR(
          sys::WriteFileAtomic(options_.pid_file, std::to_string(created.pid), 0644, sys::Durability::kAtomic));
    }
    RETURN_IF_ERROR(state_->Save(record_));
    FaultPoint("oci.create.done");
    return {};
  }

  const Globals& globals_;
  const CreateOptions& options_;
  Bundle bundle_;
  Console console_;
  sys::CgroupLayout layout_;
  native::CgroupPlace place_;
  int preserved_ = 0;
  std::optional<native::ContainerState> state_;
  native::Record record_;
};

}  // namespace

Status Create(const Globals& globals, const CreateOptions& options) {
  Creation creation(globals, options);
  RETURN_IF_ERROR(creation.Prepare(true));
  return creation.Make().status();
}

Status StartContainer(const Globals& globals, const std::string& id) {
  ASSIGN_OR_RETURN(Loaded container, LoadLocked(globals, id));
  if (container.status == native::ContainerStatus::kStopped) {
    return FailedPrecondition("cannot start a container that has stopped");
  }
  if (container.status != native::ContainerStatus::kCreated) {
    return FailedPrecondition(fmt::format("cannot start a container that is {}: it was started already",
                                          native::StatusName(container.status)));
  }
  ASSIGN_OR_RETURN(oci::RuntimeSpec spec, LoadSpec(container));
  FaultPoint("oci.start.before");
  RETURN_IF_ERROR(native::Start(container.state.StartSocket(), Deadline::Infinite()));
  FaultPoint("oci.start.after");
  container.record.phase = native::Phase::kStarted;
  RETURN_IF_ERROR(container.state.Save(container.record));
  ::unlink(container.state.StartSocket().c_str());
  std::string json =
      native::StateJson(container.record, native::ContainerStatus::kRunning, container.record.process.pid);
  for (const std::string& failure : native::RunAllHooks(spec.hooks.poststart, "poststart", json)) {
    LogWarning("{}", failure);
  }
  return {};
}

Result<int> Run(const Globals& globals, const CreateOptions& options) {
  Creation creation(globals, options);
  RETURN_IF_ERROR(creation.Prepare(options.detach));
  ASSIGN_OR_RETURN(native::Created created, creation.Make());
  ASSIGN_OR_RETURN(sys::PidFd process, sys::PidFd::Open(created.pid));
  creation.Unlock();
  Status started = StartContainer(globals, options.id);
  if (!started.ok()) {
    Status undo = Delete(globals, options.id, true);
    return undo.ok() ? started : started.WithUndoError(undo);
  }
  if (options.detach) return 0;
  Result<int> code = WaitInForeground(process, creation.receiver());
  if (!options.keep) RETURN_IF_ERROR(Delete(globals, options.id, true));
  return code;
}

}  // namespace davit::oci_cli
