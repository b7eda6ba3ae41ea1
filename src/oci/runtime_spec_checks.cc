#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "oci/runtime_spec_fields.h"
#include "oci/runtime_spec_reader.h"

namespace davit::oci {

Status FieldError(std::string_view at, std::string_view problem) {
  return InvalidArgument(fmt::format("{}: {}", at, problem));
}

std::string Indexed(std::string_view at, size_t index) { return fmt::format("{}[{}]", at, index); }

Status OneOf(std::string_view at, std::string_view value, std::initializer_list<std::string_view> names) {
  if (std::find(names.begin(), names.end(), value) != names.end()) return {};
  return FieldError(at, fmt::format("\"{}\" is none of {}", Printable(value), fmt::join(names, ", ")));
}

Status CheckCpuList(std::string_view at, std::string_view text) {
  if (text.empty()) return {};
  for (const std::string& part : Split(Trim(text), ',')) {
    std::vector<std::string> ends = Split(part, '-');
    bool good = ends.size() <= 2;
    std::optional<uint64_t> last = 0;
    for (const std::string& end : ends) {
      std::optional<uint64_t> number = ParseUint64(end);
      good = good && number && *number < 65536 && *number >= last.value_or(0);
      last = number;
    }
    if (!good) return FieldError(at, fmt::format("\"{}\": expected a list such as 0-3,7", Printable(text)));
  }
  return {};
}

namespace {

bool IsAbsolute(std::string_view path) { return !path.empty() && path[0] == '/'; }

Status NotAbsolute(std::string_view at, std::string_view path) {
  return FieldError(at, fmt::format("\"{}\" is not an absolute path", Printable(path)));
}

// Semantic versioning, as far as one has to know to refuse another major version.
Status CheckVersion(std::string_view version) {
  std::vector<std::string> numbers = Split(version.substr(0, version.find_first_of("-+")), '.');
  bool good = numbers.size() == 3;
  for (const std::string& number : numbers) {
    good = good && ParseUint64(number) && (number.size() == 1 || number[0] != '0');
  }
  if (!good) return FieldError("ociVersion", fmt::format("\"{}\" is no version", Printable(version)));
  if (numbers[0] == "1") return {};
  return FieldError("ociVersion", fmt::format("{} is not supported, expected 1.x.y", Printable(version)));
}

Status CheckMappings(const std::string& at, const std::vector<IdMapping>& mappings) {
  for (size_t i = 0; i < mappings.size(); ++i) {
    const IdMapping& mapping = mappings[i];
    uint64_t last = std::max<uint64_t>(mapping.container_id, mapping.host_id) + uint64_t{mapping.size};
    if (mapping.size == 0 || last > uint64_t{UINT32_MAX} + 1) {
      return FieldError(Indexed(at, i), "the size has to be at least 1, and the range to end below 2^32");
    }
  }
  return {};
}

bool Has(const Linux& part, std::string_view type) {
  return std::any_of(part.namespaces.begin(), part.namespaces.end(),
                     [&](const Namespace& ns) { return ns.type == type; });
}

Status CheckNamespaces(const Linux& part) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < part.namespaces.size(); ++i) {
    const Namespace& ns = part.namespaces[i];
    std::string at = Indexed("linux.namespaces", i);
    RETURN_IF_ERROR(OneOf(at + ".type", ns.type, {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"}));
    if (!seen.insert(ns.type).second) return FieldError(at + ".type", ns.type + " occurs twice");
    if (!ns.path.empty() && !IsAbsolute(ns.path)) return NotAbsolute(at + ".path", ns.path);
  }
  RETURN_IF_ERROR(CheckMappings("linux.uidMappings", part.uid_mappings));
  RETURN_IF_ERROR(CheckMappings("linux.gidMappings", part.gid_mappings));
  if (!Has(part, "user") && (!part.uid_mappings.empty() || !part.gid_mappings.empty())) {
    return FieldError(part.uid_mappings.empty() ? "linux.gidMappings" : "linux.uidMappings",
                      "goes with a user namespace in linux.namespaces only");
  }
  if (!part.time_offsets.empty() && !Has(part, "time")) {
    return FieldError("linux.timeOffsets", "goes with a time namespace in linux.namespaces only");
  }
  for (const auto& [clock, offset] : part.time_offsets) {
    RETURN_IF_ERROR(OneOf("linux.timeOffsets", clock, {"monotonic", "boottime"}));
    if (offset.nanosecs >= 1000000000) {
      return FieldError("linux.timeOffsets." + clock + ".nanosecs", "expected less than a second");
    }
  }
  return {};
}

Status CheckMounts(const std::vector<SpecMount>& mounts) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    std::string at = Indexed("mounts", i);
    if (!IsAbsolute(mounts[i].destination)) return NotAbsolute(at + ".destination", mounts[i].destination);
    RETURN_IF_ERROR(CheckMappings(at + ".uidMappings", mounts[i].uid_mappings));
    RETURN_IF_ERROR(CheckMappings(at + ".gidMappings", mounts[i].gid_mappings));
    if (mounts[i].uid_mappings.empty() != mounts[i].gid_mappings.empty()) {
      return FieldError(at, "uidMappings and gidMappings go together");
    }
  }
  return {};
}

Status CheckDevices(const std::vector<Device>& devices) {
  for (size_t i = 0; i < devices.size(); ++i) {
    std::string at = Indexed("linux.devices", i);
    if (!IsAbsolute(devices[i].path)) return NotAbsolute(at + ".path", devices[i].path);
    RETURN_IF_ERROR(OneOf(at + ".type", std::string_view(&devices[i].type, 1), {"c", "b", "u", "p"}));
    // makedev(3): 12 bits and 20 bits are what the kernel's dev_t has.
    if (devices[i].major < 0 || devices[i].major > 0xfff) return FieldError(at + ".major", "is out of range");
    if (devices[i].minor < 0 || devices[i].minor > 0xfffff) return FieldError(at + ".minor", "is out of range");
  }
  return {};
}

// dev_valid_name() of the kernel.
bool IsInterfaceName(std::string_view name) {
  return !name.empty() && name.size() < 16 && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), [](char c) { return c == '/' || c == ':' || c == ' ' || c < 0x20; });
}

Status CheckNetDevices(const Linux& part) {
  if (part.net_devices.empty()) return {};
  if (!Has(part, "network")) {
    return FieldError("linux.netDevices", "goes with a network namespace in linux.namespaces only");
  }
  std::set<std::string_view> seen;
  for (const auto& [name, inside] : part.net_devices) {
    std::string at = fmt::format("linux.netDevices.{}", Printable(name));
    if (!IsInterfaceName(name)) return FieldError(at, "is no name of an interface");
    if (!inside.empty() && !IsInterfaceName(inside)) return FieldError(at + ".name", "is no name of an interface");
    if (!seen.insert(inside.empty() ? name : inside).second) return FieldError(at + ".name", "occurs twice");
  }
  return {};
}

// Only what belongs to a namespace that the container has for itself may be set: anything else is the machine's.
Status CheckSysctl(const Linux& part, const std::string& name) {
  std::string at = fmt::format("linux.sysctl.{}", Printable(name));
  std::string dotted = name;
  std::replace(dotted.begin(), dotted.end(), '/', '.');
  if (name.empty() || name.front() == '/' || dotted.find("..") != std::string::npos) {
    return FieldError(at, "is no name of a sysctl");
  }
  auto begins = [&](std::string_view prefix) { return dotted.rfind(prefix, 0) == 0; };
  // ipc/ipc_sysctl.c and ipc/mq_sysctl.c.
  static const std::set<std::string_view> kIpc = {"kernel.msgmax",      "kernel.msgmnb",          "kernel.msgmni",
                                                  "kernel.sem",         "kernel.shmall",          "kernel.shmmax",
                                                  "kernel.shmmni",      "kernel.shm_rmid_forced", "kernel.auto_msgmni",
                                                  "kernel.msg_next_id", "kernel.sem_next_id",     "kernel.shm_next_id"};
  std::string_view needs;
  if (kIpc.count(dotted) != 0 || begins("fs.mqueue.")) {
    needs = "ipc";
  } else if (begins("net.")) {
    needs = "network";
  } else if (dotted == "kernel.domainname" || dotted == "kernel.hostname") {
    needs = "uts";
  } else if (begins("user.")) {
    needs = "user";
  } else {
    return FieldError(at, "is not in a namespace: it would be set for the whole machine");
  }
  if (Has(part, needs)) return {};
  return FieldError(at, fmt::format("goes with a namespace of type {} in linux.namespaces only", needs));
}

Status CheckRareLinux(const Linux& part) {
  if (part.intel_rdt) {
    const std::string& id = part.intel_rdt->clos_id;
    if (!id.empty() && !IsPathComponent(id)) return FieldError("linux.intelRdt.closID", "is no name of a directory");
  }
  if (part.memory_policy) {
    const MemoryPolicy& policy = *part.memory_policy;
    RETURN_IF_ERROR(OneOf("linux.memoryPolicy.mode", policy.mode,
                          {"MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
                           "MPOL_PREFERRED_MANY", "MPOL_LOCAL"}));
    RETURN_IF_ERROR(CheckCpuList("linux.memoryPolicy.nodes", policy.nodes));
    for (size_t i = 0; i < policy.flags.size(); ++i) {
      RETURN_IF_ERROR(OneOf(Indexed("linux.memoryPolicy.flags", i), policy.flags[i],
                            {"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"}));
    }
  }
  if (part.personality) {
    RETURN_IF_ERROR(OneOf("linux.personality.domain", part.personality->domain, {"LINUX", "LINUX32"}));
    if (!part.personality->flags.empty()) {
      return FieldError("linux.personality.flags", "no flag is known to the specification");
    }
  }
  return {};
}

Status CheckLinux(const Linux& part) {
  RETURN_IF_ERROR(CheckNamespaces(part));
  RETURN_IF_ERROR(CheckDevices(part.devices));
  RETURN_IF_ERROR(CheckNetDevices(part));
  RETURN_IF_ERROR(ValidateResources(part.resources, "linux.resources"));
  if (!part.rootfs_propagation.empty()) {
    RETURN_IF_ERROR(
        OneOf("linux.rootfsPropagation", part.rootfs_propagation,
              {"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"}));
  }
  for (size_t i = 0; i < part.masked_paths.size(); ++i) {
    if (!IsAbsolute(part.masked_paths[i])) return NotAbsolute(Indexed("linux.maskedPaths", i), part.masked_paths[i]);
  }
  for (size_t i = 0; i < part.readonly_paths.size(); ++i) {
    if (!IsAbsolute(part.readonly_paths[i])) {
      return NotAbsolute(Indexed("linux.readonlyPaths", i), part.readonly_paths[i]);
    }
  }
  for (const auto& [name, value] : part.sysctl) RETURN_IF_ERROR(CheckSysctl(part, name));
  if (part.seccomp_rules) RETURN_IF_ERROR(ValidateSeccomp(*part.seccomp_rules, "linux.seccomp"));
  return CheckRareLinux(part);
}

Status CheckHooks(const std::vector<Hook>& hooks, const std::string& at) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    if (!IsAbsolute(hooks[i].path)) return NotAbsolute(Indexed(at, i) + ".path", hooks[i].path);
    if (hooks[i].timeout && *hooks[i].timeout <= 0) {
      return FieldError(Indexed(at, i) + ".timeout", "expected at least 1 second");
    }
  }
  return {};
}

Status CheckAllHooks(const Hooks& hooks) {
  RETURN_IF_ERROR(CheckHooks(hooks.prestart, "hooks.prestart"));
  RETURN_IF_ERROR(CheckHooks(hooks.create_runtime, "hooks.createRuntime"));
  RETURN_IF_ERROR(CheckHooks(hooks.create_container, "hooks.createContainer"));
  RETURN_IF_ERROR(CheckHooks(hooks.start_container, "hooks.startContainer"));
  RETURN_IF_ERROR(CheckHooks(hooks.poststart, "hooks.poststart"));
  return CheckHooks(hooks.poststop, "hooks.poststop");
}

}  // namespace

Status ValidateRuntimeSpec(const RuntimeSpec& spec) {
  RETURN_IF_ERROR(CheckVersion(spec.oci_version));
  RETURN_IF_ERROR(ValidateProcess(spec.process, "process"));
  if (spec.root.path.empty()) return FieldError("root.path", "is empty");
  bool uts = Has(spec.linux_, "uts");
  if (!spec.hostname.empty() && !uts) {
    return FieldError("hostname", "goes with a UTS namespace in linux.namespaces only");
  }
  if (!spec.domainname.empty() && !uts) {
    return FieldError("domainname", "goes with a UTS namespace in linux.namespaces only");
  }
  // include/uapi/linux/utsname.h, __NEW_UTS_LEN.
  if (spec.hostname.size() > 64) return FieldError("hostname", "is longer than 64 bytes");
  if (spec.domainname.size() > 64) return FieldError("domainname", "is longer than 64 bytes");
  RETURN_IF_ERROR(CheckMounts(spec.mounts));
  if (spec.annotations.count("") != 0) return FieldError("annotations", "a name in it is empty");
  RETURN_IF_ERROR(CheckAllHooks(spec.hooks));
  return CheckLinux(spec.linux_);
}

}  // namespace davit::oci
