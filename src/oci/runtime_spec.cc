#include "oci/runtime_spec.h"

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
  out.EndObject();
}

void Write(JsonWriter& out, std::string_view key, const std::vector<IdMapping>& mappings) {
  if (mappings.empty()) return;
  out.Key(key).BeginArray();
  for (const IdMapping& mapping : mappings) {
    out.BeginObject().Field("containerID", mapping.container_id).Field("hostID", mapping.host_id);
    out.Field("size", mapping.size).EndObject();
  }
  out.EndArray();
}

void Write(JsonWriter& out, const std::vector<SpecMount>& mounts) {
  out.Key("mounts").BeginArray();
  for (const SpecMount& mount : mounts) {
    out.BeginObject().Field("destination", mount.destination).NonEmpty("type", mount.type);
    out.NonEmpty("source", mount.source).NonEmpty("options", mount.options);
    Write(out, "uidMappings", mount.uid_mappings);
    Write(out, "gidMappings", mount.gid_mappings);
    out.EndObject();
  }
  out.EndArray();
}

void Write(JsonWriter& out, const std::vector<Device>& devices) {
  if (devices.empty()) return;
  out.Key("devices").BeginArray();
  for (const Device& device : devices) {
    out.BeginObject().Field("path", device.path).Field("type", std::string_view(&device.type, 1));
    if (device.type != 'p') out.Field("major", device.major).Field("minor", device.minor);
    out.Optional("fileMode", device.file_mode).Optional("uid", device.uid).Optional("gid", device.gid).EndObject();
  }
  out.EndArray();
}

void Write(JsonWriter& out, const std::vector<DeviceRule>& rules) {
  if (rules.empty()) return;
  out.Key("devices").BeginArray();
  for (const DeviceRule& rule : rules) {
    out.BeginObject().Field("allow", rule.allow).Field("type", std::string_view(&rule.type, 1));
    out.Optional("major", rule.major).Optional("minor", rule.minor).Field("access", rule.access).EndObject();
  }
  out.EndArray();
}

void Write(JsonWriter& out, const MemoryLimits& memory) {
  if (!memory.limit && !memory.reservation && !memory.swap && !memory.swappiness && !memory.disable_oom_killer) return;
  out.Key("memory").BeginObject().Optional("limit", memory.limit).Optional("reservation", memory.reservation);
  out.Optional("swap", memory.swap).Optional("swappiness", memory.swappiness);
  out.Optional("disableOOMKiller", memory.disable_oom_killer).EndObject();
}

void Write(JsonWriter& out, const CpuLimits& cpu) {
  if (!cpu.shares && !cpu.quota && !cpu.period && cpu.cpus.empty() && cpu.mems.empty()) return;
  out.Key("cpu").BeginObject().Optional("shares", cpu.shares).Optional("quota", cpu.quota);
  out.Optional("period", cpu.period).NonEmpty("cpus", cpu.cpus).NonEmpty("mems", cpu.mems).EndObject();
}

void Write(JsonWriter& out, const Resources& resources) {
  out.BeginObject();
  Write(out, resources.devices);
  Write(out, resources.memory);
  Write(out, resources.cpu);
  if (resources.pids_limit) out.Key("pids").BeginObject().Field("limit", *resources.pids_limit).EndObject();
  if (resources.blkio_weight) out.Key("blockIO").BeginObject().Field("weight", *resources.blkio_weight).EndObject();
  if (!resources.hugepage_limits.empty()) {
    out.Key("hugepageLimits").BeginArray();
    for (const HugepageLimit& limit : resources.hugepage_limits) {
      out.BeginObject().Field("pageSize", limit.page_size).Field("limit", limit.limit).EndObject();
    }
    out.EndArray();
  }
  out.NonEmpty("unified", resources.unified).EndObject();
}

void Write(JsonWriter& out, const Linux& linux_part) {
  out.Key("linux").BeginObject();
  Write(out, "uidMappings", linux_part.uid_mappings);
  Write(out, "gidMappings", linux_part.gid_mappings);
  out.Key("namespaces").BeginArray();
  for (const Namespace& ns : linux_part.namespaces) {
    out.BeginObject().Field("type", ns.type).NonEmpty("path", ns.path).EndObject();
  }
  out.EndArray();
  Write(out, linux_part.devices);
  out.Key("resources");
  Write(out, linux_part.resources);
  out.NonEmpty("cgroupsPath", linux_part.cgroups_path);
  out.NonEmpty("rootfsPropagation", linux_part.rootfs_propagation);
  out.NonEmpty("maskedPaths", linux_part.masked_paths).NonEmpty("readonlyPaths", linux_part.readonly_paths);
  out.NonEmpty("sysctl", linux_part.sysctl);
  if (!linux_part.seccomp.empty()) out.Key("seccomp").Raw(linux_part.seccomp);
  out.NonEmpty("mountLabel", linux_part.mount_label).EndObject();
}

void Write(JsonWriter& out, std::string_view key, const std::vector<Hook>& hooks) {
  if (hooks.empty()) return;
  out.Key(key).BeginArray();
  for (const Hook& hook : hooks) {
    out.BeginObject().Field("path", hook.path).NonEmpty("args", hook.args).Strings("env", hook.env);
    out.Optional("timeout", hook.timeout).EndObject();
  }
  out.EndArray();
}

void Write(JsonWriter& out, const Hooks& hooks) {
  if (hooks.prestart.empty() && hooks.create_runtime.empty() && hooks.create_container.empty() &&
      hooks.start_container.empty() && hooks.poststart.empty() && hooks.poststop.empty()) {
    return;
  }
  out.Key("hooks").BeginObject();
  Write(out, "prestart", hooks.prestart);
  Write(out, "createRuntime", hooks.create_runtime);
  Write(out, "createContainer", hooks.create_container);
  Write(out, "startContainer", hooks.start_container);
  Write(out, "poststart", hooks.poststart);
  Write(out, "poststop", hooks.poststop);
  out.EndObject();
}

}  // namespace

std::string ToJson(const Process& process) {
  JsonWriter out;
  Write(out, process);
  return std::move(out).Take();
}

std::string ToJson(const Resources& resources) {
  JsonWriter out;
  Write(out, resources);
  return std::move(out).Take();
}

std::string ToJson(const RuntimeSpec& spec) {
  JsonWriter out;
  out.BeginObject().Field("ociVersion", kRuntimeSpecVersion);
  out.Key("process");
  Write(out, spec.process);
  out.Key("root").BeginObject().Field("path", spec.root.path).Field("readonly", spec.root.readonly).EndObject();
  out.NonEmpty("hostname", spec.hostname);
  Write(out, spec.mounts);
  out.NonEmpty("annotations", spec.annotations);
  Write(out, spec.hooks);
  Write(out, spec.linux_);
  out.EndObject();
  return std::move(out).Take();
}

}  // namespace davit::oci
