#include "oci/runtime_spec.h"

#include "oci/json_writer.h"

namespace davit::oci {
namespace {

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

// What davitd itself does not use.
void WriteRare(JsonWriter& out, const Linux& linux_part) {
  if (!linux_part.net_devices.empty()) {
    out.Key("netDevices").BeginObject();
    for (const auto& [name, inside] : linux_part.net_devices) {
      out.Key(name).BeginObject().NonEmpty("name", inside).EndObject();
    }
    out.EndObject();
  }
  if (const auto& rdt = linux_part.intel_rdt) {
    out.Key("intelRdt").BeginObject().NonEmpty("closID", rdt->clos_id).NonEmpty("schemata", rdt->schemata);
    out.NonEmpty("l3CacheSchema", rdt->l3_cache_schema).NonEmpty("memBwSchema", rdt->mem_bw_schema);
    if (rdt->enable_monitoring) out.Field("enableMonitoring", true);
    out.EndObject();
  }
  if (const auto& policy = linux_part.memory_policy) {
    out.Key("memoryPolicy").BeginObject().Field("mode", policy->mode).Field("nodes", policy->nodes);
    out.NonEmpty("flags", policy->flags).EndObject();
  }
  if (const auto& personality = linux_part.personality) {
    out.Key("personality").BeginObject().Field("domain", personality->domain);
    out.NonEmpty("flags", personality->flags).EndObject();
  }
  if (!linux_part.time_offsets.empty()) {
    out.Key("timeOffsets").BeginObject();
    for (const auto& [clock, offset] : linux_part.time_offsets) {
      out.Key(clock).BeginObject().Field("secs", offset.secs).Field("nanosecs", offset.nanosecs).EndObject();
    }
    out.EndObject();
  }
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
  out.Key("resources").Raw(ToJson(linux_part.resources));
  out.NonEmpty("cgroupsPath", linux_part.cgroups_path);
  out.NonEmpty("rootfsPropagation", linux_part.rootfs_propagation);
  out.NonEmpty("maskedPaths", linux_part.masked_paths).NonEmpty("readonlyPaths", linux_part.readonly_paths);
  out.NonEmpty("sysctl", linux_part.sysctl);
  if (!linux_part.seccomp.empty()) {
    out.Key("seccomp").Raw(linux_part.seccomp);
  } else if (linux_part.seccomp_rules) {
    out.Key("seccomp").Raw(ToJson(*linux_part.seccomp_rules));
  }
  out.NonEmpty("mountLabel", linux_part.mount_label);
  WriteRare(out, linux_part);
  out.EndObject();
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

std::string ToJson(const RuntimeSpec& spec) {
  JsonWriter out;
  out.BeginObject().Field("ociVersion", spec.oci_version);
  out.Key("process").Raw(ToJson(spec.process));
  out.Key("root").BeginObject().Field("path", spec.root.path).Field("readonly", spec.root.readonly).EndObject();
  out.NonEmpty("hostname", spec.hostname).NonEmpty("domainname", spec.domainname);
  Write(out, spec.mounts);
  out.NonEmpty("annotations", spec.annotations);
  Write(out, spec.hooks);
  Write(out, spec.linux_);
  out.EndObject();
  return std::move(out).Take();
}

}  // namespace davit::oci
