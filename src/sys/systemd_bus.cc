#include "sys/systemd_bus.h"

#include <sys/stat.h>
#include <systemd/sd-bus.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "sys/systemd_names.h"

namespace davit::sys {
namespace {

constexpr const char* kService = "org.freedesktop.systemd1";
constexpr const char* kObject = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kNoSuchUnit = "org.freedesktop.systemd1.NoSuchUnit";
constexpr const char* kUnitExists = "org.freedesktop.systemd1.UnitExists";

struct CloseBus {
  // No flush at the end: whatever was sent has been answered.
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
struct FreeMessage {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
struct FreeSlot {
  void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
};
using Bus = std::unique_ptr<sd_bus, CloseBus>;
using Message = std::unique_ptr<sd_bus_message, FreeMessage>;
using Slot = std::unique_ptr<sd_bus_slot, FreeSlot>;

class BusError {
 public:
  BusError() = default;
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;
  ~BusError() { sd_bus_error_free(&error_); }
  sd_bus_error* get() { return &error_; }
  [[nodiscard]] bool Is(const char* name) const { return sd_bus_error_has_name(&error_, name) != 0; }
  // What systemd said, else the text of `code` (a negative errno).
  [[nodiscard]] Status ToStatus(int code, const std::string& intent) const {
    bool said = error_.message != nullptr;
    bool from_systemd = said && error_.name != nullptr && std::string_view(error_.name).starts_with(kService);
    if (from_systemd) return Internal(intent + ": systemd: " + Printable(error_.message));
    if (code == -ETIMEDOUT) return DeadlineExceeded(intent + ": systemd does not answer");
    Status status = said ? Unavailable(Printable(error_.message)) : ErrnoError(-code, "system bus");
    return Unavailable(intent + ": " + status.message());
  }

 private:
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

uint64_t Micros(Deadline deadline) {
  // 0 would be the library's default of 25 s.
  int left = deadline.PollTimeoutMs();
  return left < 0 ? UINT64_MAX : std::max<uint64_t>(static_cast<uint64_t>(left) * 1000, 1);
}

Result<Bus> Connect(const std::string& intent) {
  sd_bus* raw = nullptr;
  int code = sd_bus_open_system(&raw);
  if (code < 0) return Unavailable(intent + ": " + ErrnoError(-code, "connect to the system bus").message());
  return Bus(raw);
}

Message NewCall(sd_bus* bus, const char* method) {
  sd_bus_message* raw = nullptr;
  if (sd_bus_message_new_method_call(bus, &raw, kService, kObject, kManager, method) < 0) return nullptr;
  return Message(raw);
}

// One job of systemd, from before it is asked for to its end: the signal may come before the answer.
class Job {
 public:
  Status Watch(sd_bus* bus, const std::string& intent) {
    bus_ = bus;
    sd_bus_slot* raw = nullptr;
    int code = sd_bus_match_signal(bus, &raw, kService, kObject, kManager, "JobRemoved", OnRemoved, this);
    if (code >= 0) {
      slot_.reset(raw);
      // Without a subscriber systemd sends no signals of jobs.
      BusError error;
      code = sd_bus_call_method(bus, kService, kObject, kManager, "Subscribe", error.get(), nullptr, "");
      if (code < 0) return error.ToStatus(code, intent);
    }
    return code < 0 ? BusError().ToStatus(code, intent) : Status();
  }

  // `answer` holds the object path of the job.
  Status Wait(sd_bus_message* answer, const std::string& intent, Deadline deadline) {
    const char* path = nullptr;
    int code = sd_bus_message_read(answer, "o", &path);
    if (code < 0) return BusError().ToStatus(code, intent);
    path_ = path;
    for (;;) {
      for (const auto& [ended, result] : ended_) {
        if (ended != path_) continue;
        if (result == "done" || result == "skipped") return {};
        return Internal(intent + ": systemd: the job ended as \"" + Printable(result) + "\"");
      }
      code = sd_bus_process(bus_, nullptr);
      if (code > 0) continue;
      if (code == 0) {
        if (deadline.expired()) return DeadlineExceeded(intent + ": systemd has not done it in time");
        code = sd_bus_wait(bus_, Micros(deadline));
      }
      if (code < 0 && code != -EINTR) return BusError().ToStatus(code, intent);
    }
  }

 private:
  static int OnRemoved(sd_bus_message* message, void* self, sd_bus_error* /*unused*/) {
    auto* job = static_cast<Job*>(self);
    uint32_t id = 0;
    const char* path = nullptr;
    const char* unit = nullptr;
    const char* result = nullptr;
    constexpr size_t kMaxRemembered = 4096;  // other jobs of a busy machine
    if (sd_bus_message_read(message, "uoss", &id, &path, &unit, &result) >= 0 && job->ended_.size() < kMaxRemembered &&
        (job->path_.empty() || job->path_ == path)) {
      job->ended_.emplace_back(path, result);
    }
    return 0;
  }

  sd_bus* bus_ = nullptr;  // the caller's
  Slot slot_;
  std::string path_;
  std::vector<std::pair<std::string, std::string>> ended_;  // job -> result
};

int AppendScope(sd_bus_message* call, const std::string& unit, const std::string& slice, const std::string& text,
                uint32_t pid) {
  int code = sd_bus_message_append(call, "ss", unit.c_str(), "fail");
  if (code >= 0) code = sd_bus_message_open_container(call, 'a', "(sv)");
  if (code >= 0) code = sd_bus_message_append(call, "(sv)", "Description", "s", text.c_str());
  if (code >= 0) code = sd_bus_message_append(call, "(sv)", "Slice", "s", slice.c_str());
  if (code >= 0) code = sd_bus_message_append(call, "(sv)", "Delegate", "b", 1);
  // A pod's init must not hold up the node's shutdown, nor be gone before its containers are.
  if (code >= 0) code = sd_bus_message_append(call, "(sv)", "DefaultDependencies", "b", 0);
  // No memory of a scope that ended badly: its name would be taken.
  if (code >= 0) code = sd_bus_message_append(call, "(sv)", "CollectMode", "s", "inactive-or-failed");
  if (code >= 0) code = sd_bus_message_append(call, "(sv)", "PIDs", "au", 1, pid);
  if (code >= 0) code = sd_bus_message_close_container(call);
  if (code >= 0) code = sd_bus_message_append(call, "a(sa(sv))", 0);
  return code;
}

int AppendNumber(sd_bus_message* call, const char* name, const std::optional<uint64_t>& value) {
  return value ? sd_bus_message_append(call, "(sv)", name, "t", *value) : 0;
}

int AppendBytes(sd_bus_message* call, const char* name, const std::optional<std::vector<uint8_t>>& bytes) {
  if (!bytes) return 0;
  int code = sd_bus_message_open_container(call, 'r', "sv");
  if (code >= 0) code = sd_bus_message_append(call, "s", name);
  if (code >= 0) code = sd_bus_message_open_container(call, 'v', "ay");
  if (code >= 0) code = sd_bus_message_append_array(call, 'y', bytes->data(), bytes->size());
  if (code >= 0) code = sd_bus_message_close_container(call);
  if (code >= 0) code = sd_bus_message_close_container(call);
  return code;
}

int AppendLimits(sd_bus_message* call, const std::string& unit, const UnitLimits& limits) {
  int code = sd_bus_message_append(call, "sb", unit.c_str(), 1);  // 1: not kept over a reboot
  if (code >= 0) code = sd_bus_message_open_container(call, 'a', "(sv)");
  if (code >= 0) code = AppendNumber(call, "MemoryMin", limits.memory_min);
  if (code >= 0) code = AppendNumber(call, "MemoryLow", limits.memory_low);
  if (code >= 0) code = AppendNumber(call, "MemoryHigh", limits.memory_high);
  if (code >= 0) code = AppendNumber(call, "MemoryMax", limits.memory_max);
  if (code >= 0) code = AppendNumber(call, "MemorySwapMax", limits.swap_max);
  if (code >= 0) code = AppendNumber(call, "CPUWeight", limits.cpu_weight);
  if (code >= 0) code = AppendNumber(call, "CPUQuotaPeriodUSec", limits.cpu_period);
  if (code >= 0) code = AppendNumber(call, "CPUQuotaPerSecUSec", limits.cpu_quota_per_second);
  if (code >= 0) code = AppendBytes(call, "AllowedCPUs", limits.cpus);
  if (code >= 0) code = AppendBytes(call, "AllowedMemoryNodes", limits.memory_nodes);
  if (code >= 0) code = AppendNumber(call, "TasksMax", limits.tasks);
  if (code >= 0) code = sd_bus_message_close_container(call);
  return code;
}

Status ResetFailed(sd_bus* bus, const std::string& unit, Deadline deadline, const std::string& intent) {
  Message call = NewCall(bus, "ResetFailedUnit");
  if (!call) return BusError().ToStatus(-ENOMEM, intent);
  int code = sd_bus_message_append(call.get(), "s", unit.c_str());
  BusError error;
  if (code >= 0) code = sd_bus_call(bus, call.get(), Micros(deadline), error.get(), nullptr);
  return code < 0 && !error.Is(kNoSuchUnit) ? error.ToStatus(code, intent) : Status();
}

}  // namespace

bool IsSystemdBooted() {
  struct stat info {};
  return ::lstat("/run/systemd/system", &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::string> SystemdVersion(Deadline deadline) {
  const std::string intent = "ask systemd for its version";
  ASSIGN_OR_RETURN(Bus bus, Connect(intent));
  sd_bus_set_method_call_timeout(bus.get(), Micros(deadline));
  BusError error;
  char* raw = nullptr;
  int code = sd_bus_get_property_string(bus.get(), kService, kObject, kManager, "Version", error.get(), &raw);
  std::unique_ptr<char, void (*)(void*)> text(raw, ::free);
  if (code < 0) return error.ToStatus(code, intent);
  return Printable(text.get());
}

Status StartScope(const std::string& cgroup, const std::string& description, pid_t pid, Deadline deadline) {
  const std::string unit = UnitName(cgroup);
  const std::string intent = "make " + unit;
  if (!IsScope(cgroup) || cgroup.front() != '/') return InvalidArgument(intent + ": " + cgroup + " is no scope's path");
  std::string parent = UnitName(cgroup.substr(0, cgroup.rfind('/')));
  ASSIGN_OR_RETURN(Bus bus, Connect(intent));
  Job job;
  RETURN_IF_ERROR(job.Watch(bus.get(), intent));
  Message call = NewCall(bus.get(), "StartTransientUnit");
  if (!call) return BusError().ToStatus(-ENOMEM, intent);
  BusError error;
  int code =
      AppendScope(call.get(), unit, parent.empty() ? "-.slice" : parent, description, static_cast<uint32_t>(pid));
  sd_bus_message* raw = nullptr;
  if (code >= 0) code = sd_bus_call(bus.get(), call.get(), Micros(deadline), error.get(), &raw);
  Message answer(raw);
  if (code < 0) return error.ToStatus(code, intent);
  return job.Wait(answer.get(), intent, deadline);
}

Status StartSlice(const std::string& unit, const std::string& description, Deadline deadline) {
  const std::string intent = "make " + unit;
  ASSIGN_OR_RETURN(Bus bus, Connect(intent));
  Job job;
  RETURN_IF_ERROR(job.Watch(bus.get(), intent));
  Message call = NewCall(bus.get(), "StartTransientUnit");
  if (!call) return BusError().ToStatus(-ENOMEM, intent);
  int code = sd_bus_message_append(call.get(), "ssa(sv)a(sa(sv))", unit.c_str(), "fail", 3, "Description", "s",
                                   description.c_str(), "MemoryAccounting", "b", 1, "CPUWeight", "t", uint64_t{100}, 0);
  BusError error;
  sd_bus_message* raw = nullptr;
  if (code >= 0) code = sd_bus_call(bus.get(), call.get(), Micros(deadline), error.get(), &raw);
  Message answer(raw);
  if (code < 0 && error.Is(kUnitExists)) return {};
  if (code < 0) return error.ToStatus(code, intent);
  return job.Wait(answer.get(), intent, deadline);
}

Status SetUnitLimits(const std::string& unit, const UnitLimits& limits, Deadline deadline) {
  const std::string intent = "limit " + unit;
  ASSIGN_OR_RETURN(Bus bus, Connect(intent));
  Message call = NewCall(bus.get(), "SetUnitProperties");
  if (!call) return BusError().ToStatus(-ENOMEM, intent);
  int code = AppendLimits(call.get(), unit, limits);
  BusError error;
  if (code >= 0) code = sd_bus_call(bus.get(), call.get(), Micros(deadline), error.get(), nullptr);
  if (code < 0 && error.Is(kNoSuchUnit)) return NotFound(intent + ": there is no such unit");
  return code < 0 ? error.ToStatus(code, intent) : Status();
}

Status StopUnit(const std::string& unit, Deadline deadline) {
  const std::string intent = "stop " + unit;
  ASSIGN_OR_RETURN(Bus bus, Connect(intent));
  Job job;
  RETURN_IF_ERROR(job.Watch(bus.get(), intent));
  Message call = NewCall(bus.get(), "StopUnit");
  if (!call) return BusError().ToStatus(-ENOMEM, intent);
  // "fail": a start of the same unit that is queued is somebody's who needs it.
  int code = sd_bus_message_append(call.get(), "ss", unit.c_str(), "fail");
  BusError error;
  sd_bus_message* raw = nullptr;
  if (code >= 0) code = sd_bus_call(bus.get(), call.get(), Micros(deadline), error.get(), &raw);
  Message answer(raw);
  if (code < 0 && error.Is(kNoSuchUnit)) return {};
  if (code < 0) return error.ToStatus(code, intent);
  RETURN_IF_ERROR(job.Wait(answer.get(), intent, deadline));
  return ResetFailed(bus.get(), unit, deadline, intent);
}

}  // namespace davit::sys
