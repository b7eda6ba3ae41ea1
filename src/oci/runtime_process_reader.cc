#include <algorithm>
#include <set>

#include "oci/runtime_process.h"
#include "oci/runtime_spec_fields.h"
#include "oci/runtime_spec_reader.h"

namespace davit::oci {
namespace {

inline constexpr size_t kMaxSupplementaryGroups = 65536;  // NGROUPS_MAX

void ReadUser(SpecFields& fields, const JsonNode& at, User& out) {
  fields.Read(at.Key("uid"), out.uid);
  fields.Read(at.Key("gid"), out.gid);
  fields.Read(at.Key("umask"), out.umask);
  JsonNode groups = at.Key("additionalGids");
  if (!fields.Present(groups)) return;
  auto nodes = groups.Elements(kMaxSupplementaryGroups);
  if (!nodes.ok()) return fields.Add(nodes.status());
  for (const JsonNode& node : *nodes) fields.Need(node, out.additional_gids.emplace_back());
}

void ReadScheduler(SpecFields& fields, const JsonNode& at, Scheduler& out) {
  fields.Need(at.Key("policy"), out.policy);
  fields.Read(at.Key("nice"), out.nice);
  fields.Read(at.Key("priority"), out.priority);
  fields.Read(at.Key("flags"), out.flags);
  fields.Read(at.Key("runtime"), out.runtime);
  fields.Read(at.Key("deadline"), out.deadline);
  fields.Read(at.Key("period"), out.period);
}

void ReadRare(SpecFields& fields, const JsonNode& at, Process& out) {
  if (JsonNode node = at.Key("scheduler"); fields.Present(node)) ReadScheduler(fields, node, out.scheduler.emplace());
  if (JsonNode node = at.Key("ioPriority"); fields.Present(node)) {
    IoPriority& priority = out.io_priority.emplace();
    fields.Need(node.Key("class"), priority.io_class);
    fields.Read(node.Key("priority"), priority.priority);
  }
  if (JsonNode node = at.Key("execCPUAffinity"); fields.Present(node)) {
    ExecCpuAffinity& affinity = out.exec_cpu_affinity.emplace();
    fields.Read(node.Key("initial"), affinity.initial);
    fields.Read(node.Key("final"), affinity.final_);
  }
}

Status CheckRlimits(const std::vector<Rlimit>& limits, std::string_view at) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < limits.size(); ++i) {
    std::string here = Indexed(at, i);
    RETURN_IF_ERROR(OneOf(here + ".type", limits[i].type,
                          {"RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS",
                           "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC",
                           "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK"}));
    // config.md: an error MUST be generated for a type that occurs twice.
    if (!seen.insert(limits[i].type).second) return FieldError(here + ".type", limits[i].type + " occurs twice");
    if (limits[i].soft > limits[i].hard) {
      return FieldError(here + ".soft", fmt::format("{} is above the hard limit {}", limits[i].soft, limits[i].hard));
    }
  }
  return {};
}

Status CheckScheduler(const Scheduler& scheduler, const std::string& at) {
  RETURN_IF_ERROR(
      OneOf(at + ".policy", scheduler.policy,
            {"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"}));
  for (size_t i = 0; i < scheduler.flags.size(); ++i) {
    RETURN_IF_ERROR(
        OneOf(Indexed(at + ".flags", i), scheduler.flags[i],
              {"SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
               "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"}));
  }
  if (scheduler.nice < -20 || scheduler.nice > 19) return FieldError(at + ".nice", "expected -20 to 19");
  bool real_time = scheduler.policy == "SCHED_FIFO" || scheduler.policy == "SCHED_RR";
  if (scheduler.priority != 0 && !real_time) {
    return FieldError(at + ".priority", "goes with SCHED_FIFO and SCHED_RR only");
  }
  if (scheduler.priority < 0 || scheduler.priority > 99) return FieldError(at + ".priority", "expected 0 to 99");
  bool deadline = scheduler.runtime != 0 || scheduler.deadline != 0 || scheduler.period != 0;
  if (deadline && scheduler.policy != "SCHED_DEADLINE") {
    return FieldError(at, "runtime, deadline and period go with SCHED_DEADLINE only");
  }
  return {};
}

}  // namespace

void ReadProcess(SpecFields& fields, const JsonNode& at, Process& out) {
  fields.Read(at.Key("terminal"), out.terminal);
  if (JsonNode node = at.Key("consoleSize"); fields.Present(node)) {
    ConsoleSize& size = out.console_size.emplace();
    fields.Read(node.Key("height"), size.height);
    fields.Read(node.Key("width"), size.width);
  }
  ReadUser(fields, at.Key("user"), out.user);
  fields.Read(at.Key("args"), out.args);
  fields.Read(at.Key("env"), out.env);
  out.cwd.clear();
  fields.Need(at.Key("cwd"), out.cwd);
  if (JsonNode node = at.Key("capabilities"); fields.Present(node)) {
    CapabilitySets& sets = out.capabilities.emplace();
    fields.Read(node.Key("bounding"), sets.bounding);
    fields.Read(node.Key("effective"), sets.effective);
    fields.Read(node.Key("inheritable"), sets.inheritable);
    fields.Read(node.Key("permitted"), sets.permitted);
    fields.Read(node.Key("ambient"), sets.ambient);
  }
  fields.Each(at.Key("rlimits"), out.rlimits, [&](const JsonNode& node, Rlimit& limit) {
    fields.Need(node.Key("type"), limit.type);
    fields.Need(node.Key("soft"), limit.soft);
    fields.Need(node.Key("hard"), limit.hard);
  });
  fields.Read(at.Key("noNewPrivileges"), out.no_new_privileges);
  fields.Read(at.Key("oomScoreAdj"), out.oom_score_adj);
  fields.Read(at.Key("apparmorProfile"), out.apparmor_profile);
  fields.Read(at.Key("selinuxLabel"), out.selinux_label);
  ReadRare(fields, at, out);
}

Status ValidateProcess(const Process& process, std::string_view at_view) {
  std::string at(at_view);
  if (process.args.empty()) return FieldError(at + ".args", "missing; expected the program and its arguments");
  if (process.cwd.empty() || process.cwd[0] != '/') {
    return FieldError(at + ".cwd", fmt::format("\"{}\" is not an absolute path", Printable(process.cwd)));
  }
  if (process.user.umask.value_or(0) > 0777) return FieldError(at + ".user.umask", "expected permission bits");
  if (process.oom_score_adj && (*process.oom_score_adj < -1000 || *process.oom_score_adj > 1000)) {
    return FieldError(at + ".oomScoreAdj", "expected -1000 to 1000");
  }
  RETURN_IF_ERROR(CheckRlimits(process.rlimits, at + ".rlimits"));
  if (process.scheduler) RETURN_IF_ERROR(CheckScheduler(*process.scheduler, at + ".scheduler"));
  if (process.io_priority) {
    RETURN_IF_ERROR(OneOf(at + ".ioPriority.class", process.io_priority->io_class,
                          {"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"}));
    if (process.io_priority->priority < 0 || process.io_priority->priority > 7) {
      return FieldError(at + ".ioPriority.priority", "expected 0 to 7");
    }
  }
  if (process.exec_cpu_affinity) {
    RETURN_IF_ERROR(CheckCpuList(at + ".execCPUAffinity.initial", process.exec_cpu_affinity->initial));
    RETURN_IF_ERROR(CheckCpuList(at + ".execCPUAffinity.final", process.exec_cpu_affinity->final_));
  }
  return {};
}

}  // namespace davit::oci
