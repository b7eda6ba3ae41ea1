#include "container/runtime_spec.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "container/capabilities.h"
#include "container/cdi.h"
#include "container/devices.h"
#include "container/mounts.h"
#include "container/resources.h"
#include "container/seccomp.h"
#include "container/seccomp_bpf.h"
#include "container/seccomp_default.h"
#include "container/selinux.h"
#include "container/standalone.h"
#include "container/user_namespace.h"
#include "sys/systemd_names.h"

namespace davit::container {
namespace {

constexpr std::string_view kDefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr size_t kMaxArgumentBytes = 1 << 20;                    // of command, args and environment together
constexpr const char* kSeccompBpf = "run.oci.seccomp_bpf_data";  // crun(1)

bool HasKey(const std::vector<std::string>& env, std::string_view key) {
  return std::any_of(env.begin(), env.end(), [&](const std::string& entry) {
    return entry.size() > key.size() && entry[key.size()] == '=' && entry.compare(0, key.size(), key) == 0;
  });
}

void SetEnv(std::vector<std::string>& env, const std::string& key, const std::string& value) {
  std::string entry = key + "=" + value;
  for (std::string& existing : env) {
    if (existing.compare(0, key.size() + 1, key + "=") == 0) {
      existing = std::move(entry);
      return;
    }
  }
  env.push_back(std::move(entry));
}

Result<std::vector<std::string>> Arguments(const ContainerSpec& spec, const oci::ImageConfig& image) {
  std::vector<std::string> arguments;
  if (!spec.command.empty()) {
    // A command of the request replaces entrypoint and cmd of the image, as in a pod specification.
    arguments = spec.command;
    arguments.insert(arguments.end(), spec.args.begin(), spec.args.end());
  } else {
    if (!spec.standalone || !spec.standalone->clear_entrypoint) arguments = image.entrypoint;
    const std::vector<std::string>& rest = spec.args.empty() ? image.cmd : spec.args;
    arguments.insert(arguments.end(), rest.begin(), rest.end());
  }
  if (arguments.empty()) {
    return InvalidArgument("command: neither the request nor image " + Printable(spec.image.image) + " has one");
  }
  return arguments;
}

std::vector<std::string> Environment(const ContainerSpec& spec, const oci::ImageConfig& image,
                                     const PodEnvironment& pod) {
  std::vector<std::string> env;
  if (!HasKey(image.env, "PATH")) env.emplace_back(kDefaultPath);
  if (spec.tty) env.emplace_back("TERM=xterm");
  if (!pod.hostname.empty()) SetEnv(env, "HOSTNAME", pod.hostname);
  for (const std::string& entry : image.env) {
    size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    SetEnv(env, entry.substr(0, equals), entry.substr(equals + 1));
  }
  for (const EnvironmentVariable& variable : spec.envs) SetEnv(env, variable.key, variable.value);
  return env;
}

std::vector<oci::Namespace> Namespaces(const ContainerSpec& spec, const PodEnvironment& pod, const NodeLimits& node) {
  std::vector<oci::Namespace> namespaces = {{"mount", ""}};
  if (!pod.network_namespace.empty()) namespaces.push_back({"network", pod.network_namespace});
  if (!pod.uts_namespace.empty()) namespaces.push_back({"uts", pod.uts_namespace});
  if (!pod.ipc_namespace.empty()) namespaces.push_back({"ipc", pod.ipc_namespace});
  if (spec.security.namespaces.pid == NamespaceMode::kTarget) {
    namespaces.push_back({"pid", pod.target_pid_namespace});
  } else if (spec.security.namespaces.pid != NamespaceMode::kNode) {
    // POD in a pod that shares no PID namespace gets its own, as CONTAINER does.
    bool shared = spec.security.namespaces.pid == NamespaceMode::kPod;
    namespaces.push_back({"pid", shared ? pod.pid_namespace : ""});
  }
  // On v1 a new cgroup namespace would make the runtime's own cgroup mounts relative to a path that it
  // has not entered yet; peers do it on v2 only.
  if (node.cgroup_v2 && !spec.security.privileged) namespaces.push_back({"cgroup", ""});
  return namespaces;
}

int64_t ClampOomScoreAdj(int64_t asked, const NodeLimits& node) {
  if (node.may_lower_oom_score_adj || asked >= node.oom_score_adj) return asked;
  // Without CAP_SYS_RESOURCE the kernel refuses any value below one's own, and with it the container.
  LogDebug("oom_score_adj {} raised to {}: this node cannot lower it", asked, node.oom_score_adj);
  return node.oom_score_adj;
}

// How many CPUs tell their throttling, by which one container can watch another (as the peers mask it).
unsigned ThrottlesToMask() {
  if (::access("/sys/devices/system/cpu/cpu0/thermal_throttle", F_OK) != 0) return 0;
  long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
  return cpus > 0 ? static_cast<unsigned>(cpus) : 0;
}

void AddPaths(const SecurityContext& security, oci::Linux& linux_part) {
  if (security.privileged) return;
  // CRI's lists cannot say "not given"; an empty one is the default, which is the safe reading.
  linux_part.masked_paths =
      security.masked_paths.empty() ? oci::DefaultMaskedPaths(ThrottlesToMask()) : security.masked_paths;
  linux_part.readonly_paths = security.readonly_paths.empty() ? oci::DefaultReadonlyPaths() : security.readonly_paths;
}

// A privileged container has no filter; a missing profile is Unconfined, as CRI says.
Result<std::string> Seccomp(const SecurityContext& security, const oci::CapabilitySets& capabilities,
                            const NodeLimits& node) {
  if (security.privileged || !security.seccomp || security.seccomp->type == ProfileType::kUnconfined) {
    return std::string();
  }
  if (security.seccomp->type == ProfileType::kLocalhost) {
    Result<std::string> profile = LoadSeccompProfile(security.seccomp->localhost_ref, capabilities.bounding);
    if (!profile.ok()) return profile.status().Annotate("linux.security_context.seccomp.localhost_ref");
    return profile;
  }
  if (node.seccomp_profile.empty()) {
    return FailedPrecondition(
        "linux.security_context.seccomp: RuntimeDefault is asked for, but this node has no default profile (install "
        "golang-github-containers-common, or set runtime.seccomp_profile)");
  }
  ASSIGN_OR_RETURN(std::string profile, LoadSeccompProfile(node.seccomp_profile, capabilities.bounding));
  if (!node.tighten_seccomp) return profile;
  return TightenSeccompProfile(profile, capabilities.bounding, oci::HostPlatform().architecture);
}

// Seccomp, AppArmor and SELinux.
Status AddSecurityModules(const SpecInputs& inputs, oci::RuntimeSpec& spec) {
  const SecurityContext& security = inputs.record->spec.security;
  const NodeLimits& node = *inputs.node;
  ASSIGN_OR_RETURN(spec.linux_.seccomp, Seccomp(security, *spec.process.capabilities, node));
  if (inputs.seccomp_bpf && node.seccomp_cache && !spec.linux_.seccomp.empty()) {
    // The profile itself stays: a runtime that no longer knew the annotation would still filter.
    std::string filter = node.seccomp_cache->Filter(spec.linux_.seccomp);
    if (!filter.empty()) spec.annotations[kSeccompBpf] = std::move(filter);
  }
  ASSIGN_OR_RETURN(spec.process.apparmor_profile, ResolveAppArmor(security, node.apparmor));
  if (!node.selinux) return {};  // wishes about labels mean nothing on this node, as in Kubernetes
  ASSIGN_OR_RETURN(SelinuxLabels labels, ResolveSelinux(*node.selinux, security, inputs.pod->selinux));
  spec.process.selinux_label = std::move(labels.process);
  spec.linux_.mount_label = std::move(labels.mount);
  return {};
}

Status AddAnnotated(const SpecInputs& inputs, oci::RuntimeSpec& spec) {
  ASSIGN_OR_RETURN(AnnotationSettings settings,
                   ReadAnnotations(inputs.handler, inputs.pod->annotations, inputs.record->spec.annotations));
  spec.process.user.umask = settings.umask;
  for (const Device& device : settings.devices) {
    RETURN_IF_ERROR(AddDevice(device, "annotated devices", spec.linux_));
  }
  return {};
}

Status AddCdiDevices(const SpecInputs& inputs, oci::RuntimeSpec& spec) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, CdiRequests(inputs.record->spec));
  if (names.empty()) return {};
  if (!inputs.node->cdi) return FailedPrecondition("CDI_devices: no directory of CDI specifications is configured");
  ASSIGN_OR_RETURN(CdiPlan plan, inputs.node->cdi->Resolve(names));
  return ApplyCdi(plan, spec).Annotate("CDI_devices");
}

Status ValidateSecurity(const SecurityContext& security, const PodEnvironment& pod) {
  if (security.privileged && !pod.privileged) {
    return InvalidArgument("linux.security_context.privileged: the pod sandbox is not privileged");
  }
  bool targeted = security.namespaces.pid == NamespaceMode::kTarget;
  if (targeted && pod.target_pid_namespace.empty()) {
    return InvalidArgument("linux.security_context.namespace_options.target_id is empty, but pid is TARGET");
  }
  if (security.run_as_group && !security.run_as_user && security.run_as_username.empty()) {
    return InvalidArgument("linux.security_context.run_as_group is set without run_as_user or run_as_username");
  }
  return {};
}

// A NUL ends a C string: the kernel would see another argument than the one that was checked.
Status ValidateText(const ContainerSpec& spec) {
  size_t bytes = 0;
  auto check = [&bytes](const std::string& text, std::string_view field) -> Status {
    bytes += text.size() + 1;
    if (text.find('\0') != std::string::npos) return InvalidArgument(std::string(field) + " contains a NUL byte");
    return {};
  };
  for (const std::string& argument : spec.command) RETURN_IF_ERROR(check(argument, "command"));
  for (const std::string& argument : spec.args) RETURN_IF_ERROR(check(argument, "args"));
  for (const EnvironmentVariable& variable : spec.envs) {
    if (variable.key.empty() || variable.key.find('=') != std::string::npos) {
      return InvalidArgument("envs: \"" + Printable(variable.key) + "\" is no name of a variable");
    }
    RETURN_IF_ERROR(check(variable.key, "envs"));
    RETURN_IF_ERROR(check(variable.value, "envs"));
  }
  if (bytes > kMaxArgumentBytes) return InvalidArgument("command, args and envs together exceed 1 MiB");
  if (!spec.working_dir.empty() && spec.working_dir[0] != '/') {
    return InvalidArgument("working_dir \"" + Printable(spec.working_dir) + "\" is not absolute");
  }
  return check(spec.working_dir, "working_dir");
}

// "0.log" or "ctr/0.log" below the pod's log directory; nothing that climbs out of it.
Status ValidateLogPath(const std::string& log_path) {
  if (log_path.empty()) return {};
  if (log_path.size() > 4096 || log_path.find('\0') != std::string::npos) {
    return InvalidArgument("log_path is longer than 4096 bytes or contains a NUL byte");
  }
  for (const std::string& part : Split(log_path, '/')) {
    if (part == "..") return InvalidArgument("log_path \"" + Printable(log_path) + "\" contains \"..\"");
  }
  return {};
}

}  // namespace

Status ValidateSpec(const ContainerSpec& spec, const PodEnvironment& pod, bool recursive_read_only) {
  if (spec.name.empty()) return InvalidArgument("metadata.name is empty");
  if (spec.image.image.empty()) return InvalidArgument("image.image is empty");
  RETURN_IF_ERROR(ValidateText(spec));
  RETURN_IF_ERROR(ValidateLogPath(spec.log_path));
  RETURN_IF_ERROR(ValidateSecurity(spec.security, pod));
  RETURN_IF_ERROR(ValidateDevices(spec.devices));
  RETURN_IF_ERROR(CdiRequests(spec).status());
  RETURN_IF_ERROR(ValidateMounts(spec.mounts, recursive_read_only));
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    if (spec.mounts[i].propagation == MountPropagation::kBidirectional && !spec.security.privileged) {
      return InvalidArgument("mounts[" + std::to_string(i) +
                             "].propagation: BIDIRECTIONAL needs a privileged container");
    }
  }
  if (spec.standalone) RETURN_IF_ERROR(ValidateStandalone(*spec.standalone));
  return ValidateUserNamespace(spec, pod);
}

Result<RuntimePlan> BuildRuntimeSpec(const SpecInputs& inputs) {
  const ContainerSpec& request = inputs.record->spec;
  const PodEnvironment& pod = *inputs.pod;
  oci::RuntimeSpec spec;
  ASSIGN_OR_RETURN(spec.process.args, Arguments(request, *inputs.image));
  spec.process.env = Environment(request, *inputs.image, pod);
  spec.process.terminal = request.tty;
  spec.process.cwd = !request.working_dir.empty()         ? request.working_dir
                     : !inputs.image->working_dir.empty() ? inputs.image->working_dir
                                                          : "/";
  spec.process.no_new_privileges = request.security.no_new_privs;
  ASSIGN_OR_RETURN(spec.process.capabilities,
                   ResolveCapabilities(request.security, inputs.node->default_capabilities, inputs.node->capabilities));
  RETURN_IF_ERROR(AddSecurityModules(inputs, spec));
  spec.process.oom_score_adj = static_cast<int32_t>(ClampOomScoreAdj(request.resources.oom_score_adj, *inputs.node));
  spec.root.path = inputs.rootfs;
  spec.root.readonly = request.security.readonly_rootfs;
  ASSIGN_OR_RETURN(MountPlan plan, PlanMounts(request, pod, inputs.mounts_directory, inputs.node->host_paths));
  spec.mounts = std::move(plan.mounts);
  spec.linux_.rootfs_propagation = std::move(plan.rootfs_propagation);
  spec.linux_.namespaces = Namespaces(request, pod, *inputs.node);
  AddUserNamespace(pod, spec.linux_);
  spec.linux_.cgroups_path = sys::RuntimeCgroupsPath(inputs.record->cgroup);
  // crun would put the process into a cgroup "container" below the scope; the record's path is where all of
  // davitd looks. Other runtimes do not know the name.
  if (sys::IsScope(inputs.record->cgroup)) spec.annotations["run.oci.systemd.subgroup"] = "";
  spec.linux_.resources = ToRuntimeResources(request.resources, inputs.node->cgroups, inputs.node->pids_limit);
  RETURN_IF_ERROR(AddDevices(request, !inputs.handler.privileged_without_host_devices, spec.linux_));
  AddPaths(request.security, spec.linux_);
  RETURN_IF_ERROR(AddAnnotated(inputs, spec));
  if (request.standalone) RETURN_IF_ERROR(ApplyStandalone(*request.standalone, spec));
  // Last: the vendor's edits are made to a finished specification.
  RETURN_IF_ERROR(AddCdiDevices(inputs, spec));
  return RuntimePlan{std::move(spec), std::move(plan.own)};
}

void SetUser(oci::RuntimeSpec& spec, const User& user) {
  spec.process.user.uid = static_cast<uint32_t>(user.uid);
  spec.process.user.gid = static_cast<uint32_t>(user.gid);
  std::vector<uint32_t> groups(user.groups.begin(), user.groups.end());
  for (uint32_t gid : spec.process.user.additional_gids) {
    if (std::find(groups.begin(), groups.end(), gid) == groups.end()) groups.push_back(gid);
  }
  spec.process.user.additional_gids = std::move(groups);
  if (!HasKey(spec.process.env, "HOME")) spec.process.env.push_back("HOME=" + user.home);
}

}  // namespace davit::container
