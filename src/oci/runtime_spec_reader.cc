#include "oci/runtime_spec_reader.h"

#include "oci/runtime_spec_fields.h"

namespace davit::oci {
namespace {

inline constexpr size_t kMaxHooks = 256;  // of one point
inline constexpr uint32_t kFileModeBits = 07777;

void ReadMappings(SpecFields& fields, const JsonNode& at, std::vector<IdMapping>& out) {
  auto read = [&](const JsonNode& node, IdMapping& mapping) {
    fields.Need(node.Key("containerID"), mapping.container_id);
    fields.Need(node.Key("hostID"), mapping.host_id);
    fields.Need(node.Key("size"), mapping.size);
  };
  fields.Each(at, out, read, kMaxIdMappings);
}

void ReadMount(SpecFields& fields, const JsonNode& at, SpecMount& out) {
  fields.Need(at.Key("destination"), out.destination);
  fields.Read(at.Key("type"), out.type);
  fields.Read(at.Key("source"), out.source);
  fields.Read(at.Key("options"), out.options);
  ReadMappings(fields, at.Key("uidMappings"), out.uid_mappings);
  ReadMappings(fields, at.Key("gidMappings"), out.gid_mappings);
  // config.md: a relative one is an old form of the same below "/".
  if (!out.destination.empty() && out.destination[0] != '/') out.destination.insert(0, "/");
}

void ReadDevice(SpecFields& fields, const JsonNode& at, Device& out) {
  fields.Need(at.Key("path"), out.path);
  std::string type;
  fields.Need(at.Key("type"), type);
  if (fields.ok() && type.size() != 1) return fields.Add(OneOf(at.path() + ".type", type, {"c", "b", "u", "p"}));
  if (fields.ok()) out.type = type[0];
  fields.Read(at.Key("major"), out.major);
  fields.Read(at.Key("minor"), out.minor);
  fields.Read(at.Key("fileMode"), out.file_mode);
  // Some engines pass st_mode on, with the kind of file in it.
  if (out.file_mode) *out.file_mode &= kFileModeBits;
  fields.Read(at.Key("uid"), out.uid);
  fields.Read(at.Key("gid"), out.gid);
}

void ReadHooks(SpecFields& fields, const JsonNode& at, Hooks& out) {
  auto read = [&](const JsonNode& node, Hook& hook) {
    fields.Need(node.Key("path"), hook.path);
    fields.Read(node.Key("args"), hook.args);
    fields.Read(node.Key("env"), hook.env);
    fields.Read(node.Key("timeout"), hook.timeout);
  };
  fields.Each(at.Key("prestart"), out.prestart, read, kMaxHooks);
  fields.Each(at.Key("createRuntime"), out.create_runtime, read, kMaxHooks);
  fields.Each(at.Key("createContainer"), out.create_container, read, kMaxHooks);
  fields.Each(at.Key("startContainer"), out.start_container, read, kMaxHooks);
  fields.Each(at.Key("poststart"), out.poststart, read, kMaxHooks);
  fields.Each(at.Key("poststop"), out.poststop, read, kMaxHooks);
}

template <class T, class Reader>
void ReadNamed(SpecFields& fields, const JsonNode& at, std::map<std::string, T>& out, Reader read) {
  if (!fields.Present(at)) return;
  auto members = at.Members();
  if (!members.ok()) return fields.Add(members.status());
  for (const auto& [name, node] : *members) read(node, out[name]);
}

void ReadRareLinux(SpecFields& fields, const JsonNode& at, Linux& out) {
  ReadNamed(fields, at.Key("netDevices"), out.net_devices,
            [&](const JsonNode& node, std::string& name) { fields.Read(node.Key("name"), name); });
  if (JsonNode node = at.Key("intelRdt"); fields.Present(node)) {
    IntelRdt& rdt = out.intel_rdt.emplace();
    fields.Read(node.Key("closID"), rdt.clos_id);
    fields.Read(node.Key("schemata"), rdt.schemata);
    fields.Read(node.Key("l3CacheSchema"), rdt.l3_cache_schema);
    fields.Read(node.Key("memBwSchema"), rdt.mem_bw_schema);
    fields.Read(node.Key("enableMonitoring"), rdt.enable_monitoring);
  }
  if (JsonNode node = at.Key("memoryPolicy"); fields.Present(node)) {
    MemoryPolicy& policy = out.memory_policy.emplace();
    fields.Need(node.Key("mode"), policy.mode);
    fields.Read(node.Key("nodes"), policy.nodes);
    fields.Read(node.Key("flags"), policy.flags);
  }
  if (JsonNode node = at.Key("personality"); fields.Present(node)) {
    Personality& personality = out.personality.emplace();
    fields.Need(node.Key("domain"), personality.domain);
    fields.Read(node.Key("flags"), personality.flags);
  }
  ReadNamed(fields, at.Key("timeOffsets"), out.time_offsets, [&](const JsonNode& node, TimeOffset& offset) {
    fields.Read(node.Key("secs"), offset.secs);
    fields.Read(node.Key("nanosecs"), offset.nanosecs);
  });
}

void ReadLinux(SpecFields& fields, const JsonNode& at, Linux& out) {
  fields.Each(at.Key("namespaces"), out.namespaces, [&](const JsonNode& node, Namespace& ns) {
    fields.Need(node.Key("type"), ns.type);
    fields.Read(node.Key("path"), ns.path);
  });
  ReadMappings(fields, at.Key("uidMappings"), out.uid_mappings);
  ReadMappings(fields, at.Key("gidMappings"), out.gid_mappings);
  fields.Each(at.Key("devices"), out.devices,
              [&](const JsonNode& node, Device& device) { ReadDevice(fields, node, device); });
  ReadResources(fields, at.Key("resources"), out.resources);
  fields.Read(at.Key("cgroupsPath"), out.cgroups_path);
  fields.Read(at.Key("rootfsPropagation"), out.rootfs_propagation);
  fields.Read(at.Key("maskedPaths"), out.masked_paths);
  fields.Read(at.Key("readonlyPaths"), out.readonly_paths);
  fields.Read(at.Key("sysctl"), out.sysctl);
  fields.Read(at.Key("mountLabel"), out.mount_label);
  if (JsonNode node = at.Key("seccomp"); fields.Present(node)) {
    ReadSeccomp(fields, node, out.seccomp_rules.emplace());
  }
  ReadRareLinux(fields, at, out);
}

// One part of a specification in a document of its own.
template <class Part, class Reader>
Result<Part> ParsePart(std::string_view text, const std::string& name, Reader read) {
  ASSIGN_OR_RETURN_WITH(boost::json::value document, ParseJson(text, kMaxRuntimeSpecBytes, kMaxRuntimeSpecDepth), name);
  JsonNode root(document, name);
  SpecFields fields;
  Part part;
  if (fields.Object(root)) read(fields, root, part);
  RETURN_IF_ERROR(fields.status());
  return part;
}

}  // namespace

Result<RuntimeSpec> ParseRuntimeSpec(std::string_view text) {
  ASSIGN_OR_RETURN(boost::json::value document, ParseJson(text, kMaxRuntimeSpecBytes, kMaxRuntimeSpecDepth));
  JsonNode root(document, "");
  SpecFields fields;
  RuntimeSpec spec;
  if (!fields.Object(root)) return fields.status();
  fields.Need(root.Key("ociVersion"), spec.oci_version);
  fields.Object(root.Key("process"));
  ReadProcess(fields, root.Key("process"), spec.process);
  fields.Object(root.Key("root"));
  fields.Need(root.Key("root").Key("path"), spec.root.path);
  fields.Read(root.Key("root").Key("readonly"), spec.root.readonly);
  fields.Read(root.Key("hostname"), spec.hostname);
  fields.Read(root.Key("domainname"), spec.domainname);
  fields.Each(root.Key("mounts"), spec.mounts,
              [&](const JsonNode& node, SpecMount& mount) { ReadMount(fields, node, mount); });
  fields.Read(root.Key("annotations"), spec.annotations);
  ReadHooks(fields, root.Key("hooks"), spec.hooks);
  ReadLinux(fields, root.Key("linux"), spec.linux_);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(ValidateRuntimeSpec(spec));
  return spec;
}

Result<Process> ParseProcess(std::string_view text) {
  ASSIGN_OR_RETURN(Process process, ParsePart<Process>(text, "process", ReadProcess));
  RETURN_IF_ERROR(ValidateProcess(process, "process"));
  return process;
}

Result<Resources> ParseResources(std::string_view text) {
  ASSIGN_OR_RETURN(Resources resources, ParsePart<Resources>(text, "resources", ReadResources));
  RETURN_IF_ERROR(ValidateResources(resources, "resources"));
  return resources;
}

Result<Seccomp> ParseSeccomp(std::string_view text) {
  ASSIGN_OR_RETURN(Seccomp seccomp, ParsePart<Seccomp>(text, "seccomp", ReadSeccomp));
  RETURN_IF_ERROR(ValidateSeccomp(seccomp, "seccomp"));
  return seccomp;
}

}  // namespace davit::oci
