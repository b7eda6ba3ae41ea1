#include "native/features.h"

#include <unistd.h>

#include <array>
#include <string_view>
#include <vector>

#include "base/version.h"
#include "oci/json_writer.h"
#include "oci/runtime_spec.h"
#include "sys/capabilities.h"

namespace davit::native {
namespace {

using oci::JsonWriter;

void Names(JsonWriter& out, std::string_view key, std::initializer_list<std::string_view> names) {
  out.Key(key).BeginArray();
  for (std::string_view name : names) out.String(name);
  out.EndArray();
}

void Enabled(JsonWriter& out, std::string_view key, bool enabled = true) {
  out.Key(key).BeginObject().Field("enabled", enabled).EndObject();
}

void Seccomp(JsonWriter& out) {
  out.Key("seccomp").BeginObject().Field("enabled", true);
  Names(out, "actions",
        {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
         "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"});
  Names(
      out, "operators",
      {"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"});
  Names(out, "archs",
        {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32",
         "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
         "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_X32",
         "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"});
  Names(out, "knownFlags",
        {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
         "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"});
  Names(out, "supportedFlags",
        {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
         "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"});
  out.EndObject();
}

void Linux(JsonWriter& out) {
  out.Key("linux").BeginObject();
  Names(out, "namespaces", {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"});
  out.Strings("capabilities", sys::KnownCapabilities());
  out.Key("cgroup").BeginObject();
  out.Field("v1", true).Field("v2", true).Field("systemd", true).Field("systemdUser", false).Field("rdma", true);
  out.EndObject();
  Seccomp(out);
  Enabled(out, "apparmor");
  Enabled(out, "selinux");
  out.Key("intelRdt").BeginObject().Field("enabled", true).Field("schemata", true).Field("monitoring", true);
  out.EndObject();
  out.Key("memoryPolicy").BeginObject();
  Names(out, "modes",
        {"MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED", "MPOL_PREFERRED_MANY",
         "MPOL_WEIGHTED_INTERLEAVE"});
  Names(out, "flags", {"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"});
  out.EndObject();
  out.Key("mountExtensions").BeginObject();
  Enabled(out, "idmap");
  out.EndObject();
  Enabled(out, "netDevices");
  out.EndObject();
}

}  // namespace

std::string FeaturesJson() {
  JsonWriter out;
  out.BeginObject().Field("ociVersionMin", "1.0.0").Field("ociVersionMax", "1.3.0");
  Names(out, "hooks", {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"});
  Names(out, "mountOptions",
        {"async",
         "atime",
         "bind",
         "defaults",
         "dev",
         "diratime",
         "dirsync",
         "exec",
         "iversion",
         "lazytime",
         "loud",
         "mand",
         "noatime",
         "nodev",
         "nodiratime",
         "noexec",
         "noiversion",
         "nolazytime",
         "nomand",
         "norelatime",
         "nostrictatime",
         "nosuid",
         "nosymfollow",
         "private",
         "ratime",
         "rbind",
         "rdev",
         "rdiratime",
         "relatime",
         "remount",
         "rexec",
         "rnoatime",
         "rnodev",
         "rnodiratime",
         "rnoexec",
         "rnorelatime",
         "rnostrictatime",
         "rnosuid",
         "rnosymfollow",
         "ro",
         "rprivate",
         "rrelatime",
         "rro",
         "rrw",
         "rshared",
         "rslave",
         "rstrictatime",
         "rsuid",
         "rsymfollow",
         "runbindable",
         "rw",
         "shared",
         "silent",
         "slave",
         "strictatime",
         "suid",
         "symfollow",
         "sync",
         "tmpcopyup",
         "unbindable",
         "idmap",
         "ridmap"});
  Linux(out);
  out.Key("annotations").BeginObject().Field("davit.version", kVersion).EndObject();
  // crun's, which is what engines look for: a seccomp filter that is compiled already.
  Names(out, "potentiallyUnsafeConfigAnnotations", {"run.oci.seccomp_bpf_data"});
  out.EndObject();
  return std::move(out).Take();
}

std::string ExampleSpec(bool rootless) {
  oci::RuntimeSpec spec;
  spec.process.terminal = true;
  spec.process.args = {"sh"};
  spec.process.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"};
  std::vector<std::string> few = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
  spec.process.capabilities = oci::CapabilitySets{few, few, {}, few, {}};
  spec.process.rlimits = {{"RLIMIT_NOFILE", 1024, 1024}};
  spec.process.no_new_privileges = true;
  spec.root.readonly = true;
  spec.hostname = "davit";
  spec.mounts = oci::DefaultMounts();
  spec.mounts.push_back(
      {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}, {}, {}});
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup"}) {
    spec.linux_.namespaces.push_back({type, ""});
  }
  spec.linux_.resources.devices = {{false, 'a', {}, {}, "rwm"}};
  spec.linux_.masked_paths = oci::DefaultMaskedPaths();
  spec.linux_.readonly_paths = oci::DefaultReadonlyPaths();
  if (rootless) {
    spec.linux_.namespaces.push_back({"user", ""});
    spec.linux_.uid_mappings = {{0, static_cast<uint32_t>(::geteuid()), 1}};
    spec.linux_.gid_mappings = {{0, static_cast<uint32_t>(::getegid()), 1}};
    spec.linux_.resources = {};
  }
  return oci::ToJson(spec);
}

}  // namespace davit::native
