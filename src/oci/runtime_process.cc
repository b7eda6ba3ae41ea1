#include "oci/runtime_process.h"

#include "oci/json_writer.h"

namespace davit::oci {
namespace {

void Write(JsonWriter& out, const User& user) {
  out.Key("user").BeginObject().Field("uid", user.uid).Field("gid", user.gid).Optional("umask", user.umask);
  if (!user.additional_gids.empty()) {
    out.Key("additionalGids").BeginArray();
    for (uint32_t gid : user.additional_gids) out.Uint(gid);
    out.EndArray();
  }
  out.EndObject();
}

void Write(JsonWriter& out, const CapabilitySets& sets) {
  // All five, even when empty: a runtime must not fill in a set that is missing.
  out.Key("capabilities").BeginObject();
  out.Strings("bounding", sets.bounding).Strings("effective", sets.effective);
  out.Strings("inheritable", sets.inheritable).Strings("permitted", sets.permitted);
  out.Strings("ambient", sets.ambient);
  out.EndObject();
}

void Write(JsonWriter& out, const Scheduler& scheduler) {
  out.Key("scheduler").BeginObject().Field("policy", scheduler.policy);
  if (scheduler.nice != 0) out.Field("nice", scheduler.nice);
  if (scheduler.priority != 0) out.Field("priority", scheduler.priority);
  out.NonEmpty("flags", scheduler.flags);
  if (scheduler.runtime != 0) out.Field("runtime", scheduler.runtime);
  if (scheduler.deadline != 0) out.Field("deadline", scheduler.deadline);
  if (scheduler.period != 0) out.Field("period", scheduler.period);
  out.EndObject();
}

void Write(JsonWriter& out, const Process& process) {
  out.BeginObject().Field("terminal", process.terminal);
  if (process.console_size) {
    out.Key("consoleSize").BeginObject();
    out.Field("height", process.console_size->height).Field("width", process.console_size->width).EndObject();
  }
  Write(out, process.user);
  out.Strings("args", process.args).NonEmpty("env", process.env).Field("cwd", process.cwd);
  if (process.capabilities) Write(out, *process.capabilities);
  if (!process.rlimits.empty()) {
    out.Key("rlimits").BeginArray();
    for (const Rlimit& limit : process.rlimits) {
      out.BeginObject().Field("type", limit.type).Field("hard", limit.hard).Field("soft", limit.soft).EndObject();
    }
    out.EndArray();
  }
  out.Field("noNewPrivileges", process.no_new_privileges).Optional("oomScoreAdj", process.oom_score_adj);
  out.NonEmpty("apparmorProfile", process.apparmor_profile).NonEmpty("selinuxLabel", process.selinux_label);
  if (process.scheduler) Write(out, *process.scheduler);
  if (process.io_priority) {
    out.Key("ioPriority").BeginObject().Field("class", process.io_priority->io_class);
    out.Field("priority", process.io_priority->priority).EndObject();
  }
  if (process.exec_cpu_affinity) {
    out.Key("execCPUAffinity").BeginObject().NonEmpty("initial", process.exec_cpu_affinity->initial);
    out.NonEmpty("final", process.exec_cpu_affinity->final_).EndObject();
  }
  out.EndObject();
}

}  // namespace

std::string ToJson(const Process& process) {
  JsonWriter out;
  Write(out, process);
  return std::move(out).Take();
}

}  // namespace davit::oci
