// What clients send.

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "container/apparmor.h"
#include "container/seccomp.h"
#include "cri/check_requests.h"
#include "cri/convert.h"

namespace davit::cri {
namespace {

// CRI's Signal enum is alphabetical; Linux's numbers for it. Real-time signals follow by arithmetic.
constexpr std::array<int, 35> kNumbers = {0, 6,  14, 7,  17, 17, 18, 8,  1,  4,  2,  29, 6,  9,  13, 29, 27, 30,
                                          3, 11, 16, 19, 31, 15, 5,  20, 21, 22, 23, 10, 12, 26, 28, 24, 25};
constexpr int kRealTime = 34;  // the kernel's first real-time signal

Result<int> ToSignal(v1::Signal signal) {
  int value = static_cast<int>(signal);
  if (value >= 0 && value < static_cast<int>(kNumbers.size())) return kNumbers[static_cast<size_t>(value)];
  if (value >= v1::SIGNAL_SIGRTMIN && value <= v1::SIGNAL_SIGRTMAX) return kRealTime + (value - v1::SIGNAL_SIGRTMIN);
  return InvalidArgument("stop_signal " + std::to_string(value) + " is not known");
}

template <class Map>
std::map<std::string, std::string> ToMap(const Map& map) {
  return {map.begin(), map.end()};
}

template <class List>
std::vector<std::string> ToStrings(const List& list) {
  return {list.begin(), list.end()};
}

Result<pod::NamespaceMode> ToPodMode(v1::NamespaceMode mode, std::string_view field) {
  if (!v1::NamespaceMode_IsValid(mode)) return InvalidArgument(std::string(field) + ": unknown mode");
  return static_cast<pod::NamespaceMode>(mode);
}

template <class Out>
Out ToUserNamespace(const v1::UserNamespace& in) {
  Out out;
  out.mode = static_cast<decltype(out.mode)>(in.mode());
  for (const auto& mapping : in.uids()) {
    out.uids.push_back({mapping.host_id(), mapping.container_id(), mapping.length()});
  }
  for (const auto& mapping : in.gids()) {
    out.gids.push_back({mapping.host_id(), mapping.container_id(), mapping.length()});
  }
  return out;
}

std::optional<container::SecurityProfile> ToProfile(bool present, const v1::SecurityProfile& in) {
  if (!present) return std::nullopt;
  return container::SecurityProfile{static_cast<container::ProfileType>(in.profile_type()), in.localhost_ref()};
}

Status CheckProfile(bool present, const v1::SecurityProfile& profile, const std::string& field) {
  if (!present || v1::SecurityProfile_ProfileType_IsValid(profile.profile_type())) return {};
  return InvalidArgument("linux.security_context." + field + ".profile_type is unknown");
}

// The deprecated texts are read on purpose: older clients send nothing else.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

// The profiles and labels of the kernel's security modules. The typed fields win over the deprecated texts, which
// are not looked at then.
Status AddModules(const v1::LinuxContainerSecurityContext& in, container::SecurityContext& out) {
  RETURN_IF_ERROR(CheckProfile(in.has_seccomp(), in.seccomp(), "seccomp"));
  RETURN_IF_ERROR(CheckProfile(in.has_apparmor(), in.apparmor(), "apparmor"));
  out.seccomp = ToProfile(in.has_seccomp(), in.seccomp());
  out.apparmor = ToProfile(in.has_apparmor(), in.apparmor());
  if (!out.seccomp) {
    ASSIGN_OR_RETURN(out.seccomp, container::ParseSeccompField(in.seccomp_profile_path()));
  }
  if (!out.apparmor) {
    ASSIGN_OR_RETURN(out.apparmor, container::ParseAppArmorField(in.apparmor_profile()));
  }
  if (in.has_selinux_options()) {
    const v1::SELinuxOption& options = in.selinux_options();
    out.selinux = container::SelinuxOptions{options.user(), options.role(), options.type(), options.level()};
  }
  return {};
}

#pragma GCC diagnostic pop

container::SecurityContext ToSecurity(const v1::LinuxContainerSecurityContext& in) {
  container::SecurityContext out;
  out.capabilities.add = ToStrings(in.capabilities().add_capabilities());
  out.capabilities.drop = ToStrings(in.capabilities().drop_capabilities());
  out.capabilities.add_ambient = ToStrings(in.capabilities().add_ambient_capabilities());
  out.privileged = in.privileged();
  out.namespaces.network = static_cast<container::NamespaceMode>(in.namespace_options().network());
  out.namespaces.pid = static_cast<container::NamespaceMode>(in.namespace_options().pid());
  out.namespaces.ipc = static_cast<container::NamespaceMode>(in.namespace_options().ipc());
  out.namespaces.target_id = in.namespace_options().target_id();
  if (in.namespace_options().has_userns_options()) {
    out.namespaces.user = ToUserNamespace<container::UserNamespace>(in.namespace_options().userns_options());
  }
  if (in.has_run_as_user()) out.run_as_user = in.run_as_user().value();
  if (in.has_run_as_group()) out.run_as_group = in.run_as_group().value();
  out.run_as_username = in.run_as_username();
  out.readonly_rootfs = in.readonly_rootfs();
  out.supplemental_groups.assign(in.supplemental_groups().begin(), in.supplemental_groups().end());
  out.supplemental_groups_policy = static_cast<container::GroupsPolicy>(in.supplemental_groups_policy());
  out.no_new_privs = in.no_new_privs();
  out.masked_paths = ToStrings(in.masked_paths());
  out.readonly_paths = ToStrings(in.readonly_paths());
  return out;
}

std::vector<container::IdMapping> ToMappings(const ::google::protobuf::RepeatedPtrField<v1::IDMapping>& in) {
  std::vector<container::IdMapping> out;
  for (const auto& mapping : in) out.push_back({mapping.host_id(), mapping.container_id(), mapping.length()});
  return out;
}

container::Mount ToMount(const v1::Mount& in) {
  container::Mount out;
  out.container_path = in.container_path();
  out.host_path = in.host_path();
  out.readonly = in.readonly();
  out.recursive_read_only = in.recursive_read_only();
  out.selinux_relabel = in.selinux_relabel();
  out.propagation = static_cast<container::MountPropagation>(in.propagation());
  out.image = in.image().image();
  out.image_sub_path = in.image_sub_path();
  out.uid_mappings = ToMappings(in.uidmappings());
  out.gid_mappings = ToMappings(in.gidmappings());
  out.mount_options = ToStrings(in.mount_options());
  return out;
}

// Numbers outside an enum's names would become nonsense downstream.
Status CheckEnums(const v1::ContainerConfig& config) {
  const auto& security = config.linux().security_context();
  const auto& names = security.namespace_options();
  bool good = v1::NamespaceMode_IsValid(names.network()) && v1::NamespaceMode_IsValid(names.pid()) &&
              v1::NamespaceMode_IsValid(names.ipc()) && v1::NamespaceMode_IsValid(names.userns_options().mode());
  if (!good) return InvalidArgument("linux.security_context.namespace_options: unknown mode");
  if (!v1::SupplementalGroupsPolicy_IsValid(security.supplemental_groups_policy())) {
    return InvalidArgument("linux.security_context.supplemental_groups_policy is unknown");
  }
  for (int i = 0; i < config.mounts_size(); ++i) {
    if (!v1::MountPropagation_IsValid(config.mounts(i).propagation())) {
      return InvalidArgument("mounts[" + std::to_string(i) + "].propagation is unknown");
    }
    if (config.mounts(i).has_image() && config.mounts(i).image().image().empty()) {
      return InvalidArgument("mounts[" + std::to_string(i) + "].image.image is empty");
    }
  }
  return {};
}

}  // namespace

sys::Resources ToResources(const v1::LinuxContainerResources& in) {
  sys::Resources out;
  out.cpu_period = in.cpu_period();
  out.cpu_quota = in.cpu_quota();
  out.cpu_shares = in.cpu_shares();
  out.memory_limit_bytes = in.memory_limit_in_bytes();
  out.memory_swap_limit_bytes = in.memory_swap_limit_in_bytes();
  out.oom_score_adj = in.oom_score_adj();
  out.cpuset_cpus = in.cpuset_cpus();
  out.cpuset_mems = in.cpuset_mems();
  for (const auto& limit : in.hugepage_limits()) out.hugepage_limits.push_back({limit.page_size(), limit.limit()});
  // Kubelets send them in any order, and a request that is sent again has to be equal to the first.
  std::stable_sort(out.hugepage_limits.begin(), out.hugepage_limits.end(),
                   [](const sys::HugepageLimit& a, const sys::HugepageLimit& b) { return a.page_size < b.page_size; });
  out.unified = ToMap(in.unified());
  return out;
}

Result<pod::PodSpec> ToPodSpec(const v1::PodSandboxConfig& config, const std::string& runtime_handler) {
  RETURN_IF_ERROR(CheckPodConfig(config));
  pod::PodSpec spec;
  spec.name = config.metadata().name();
  spec.uid = config.metadata().uid();
  spec.namespace_name = config.metadata().namespace_();
  spec.attempt = config.metadata().attempt();
  spec.hostname = config.hostname();
  spec.log_directory = config.log_directory();
  spec.has_dns = config.has_dns_config();
  spec.dns.servers = ToStrings(config.dns_config().servers());
  spec.dns.searches = ToStrings(config.dns_config().searches());
  spec.dns.options = ToStrings(config.dns_config().options());
  for (int i = 0; i < config.port_mappings_size(); ++i) {
    const v1::PortMapping& port = config.port_mappings(i);
    std::string field = "port_mappings[" + std::to_string(i) + "]";
    if (!v1::Protocol_IsValid(port.protocol())) return InvalidArgument(field + ".protocol is unknown");
    if (port.container_port() < 1 || port.container_port() > 65535) {
      return InvalidArgument(field + ".container_port " + std::to_string(port.container_port()) +
                             " is not in 1..65535");
    }
    if (port.host_port() < 0 || port.host_port() > 65535) {
      return InvalidArgument(field + ".host_port " + std::to_string(port.host_port()) + " is not in 0..65535");
    }
    spec.port_mappings.push_back(
        {static_cast<pod::Protocol>(port.protocol()), port.container_port(), port.host_port(), port.host_ip()});
  }
  spec.labels = ToMap(config.labels());
  spec.annotations = ToMap(config.annotations());
  // The root holds nobody's pod: a pod "in" it has a cgroup of its own right below, as without a parent.
  if (config.linux().cgroup_parent() != "/") spec.cgroup_parent = config.linux().cgroup_parent();
  const auto& security = config.linux().security_context();
  const auto& names = security.namespace_options();
  ASSIGN_OR_RETURN(spec.network, ToPodMode(names.network(), "linux.security_context.namespace_options.network"));
  ASSIGN_OR_RETURN(spec.pid, ToPodMode(names.pid(), "linux.security_context.namespace_options.pid"));
  ASSIGN_OR_RETURN(spec.ipc, ToPodMode(names.ipc(), "linux.security_context.namespace_options.ipc"));
  if (names.has_userns_options()) {
    if (!v1::NamespaceMode_IsValid(names.userns_options().mode())) {
      return InvalidArgument("linux.security_context.namespace_options.userns_options.mode is unknown");
    }
    spec.user = ToUserNamespace<pod::UserNamespace>(names.userns_options());
  }
  spec.privileged = security.privileged();
  spec.sysctls = ToMap(config.linux().sysctls());
  const v1::SELinuxOption& selinux = security.selinux_options();
  spec.selinux = {selinux.user(), selinux.role(), selinux.type(), selinux.level()};
  spec.resources = ToResources(config.linux().resources());
  spec.overhead = ToResources(config.linux().overhead());
  spec.runtime_handler = runtime_handler;
  return spec;
}

Result<container::ContainerSpec> ToContainerSpec(const v1::ContainerConfig& config) {
  RETURN_IF_ERROR(CheckContainerConfig(config));
  RETURN_IF_ERROR(CheckEnums(config));
  container::ContainerSpec spec;
  spec.name = config.metadata().name();
  spec.attempt = config.metadata().attempt();
  spec.image.image = config.image().image();
  spec.image.user_specified_image = config.image().user_specified_image();
  spec.image.runtime_handler = config.image().runtime_handler();
  spec.image.annotations = ToMap(config.image().annotations());
  spec.command = ToStrings(config.command());
  spec.args = ToStrings(config.args());
  spec.working_dir = config.working_dir();
  for (const auto& env : config.envs()) spec.envs.push_back({env.key(), env.value()});
  for (const auto& mount : config.mounts()) spec.mounts.push_back(ToMount(mount));
  for (const auto& device : config.devices()) {
    spec.devices.push_back({device.container_path(), device.host_path(), device.permissions()});
  }
  for (const auto& device : config.cdi_devices()) spec.cdi_devices.push_back(device.name());
  spec.labels = ToMap(config.labels());
  spec.annotations = ToMap(config.annotations());
  spec.log_path = config.log_path();
  spec.open_stdin = config.stdin();
  spec.stdin_once = config.stdin_once();
  spec.tty = config.tty();
  spec.resources = ToResources(config.linux().resources());
  spec.security = ToSecurity(config.linux().security_context());
  RETURN_IF_ERROR(AddModules(config.linux().security_context(), spec.security));
  ASSIGN_OR_RETURN(spec.stop_signal, ToSignal(config.stop_signal()));
  return spec;
}

v1::Signal ToCriSignal(int number) {
  for (size_t i = 0; i < kNumbers.size(); ++i) {
    if (kNumbers[i] == number) return static_cast<v1::Signal>(i);
  }
  int value = v1::SIGNAL_SIGRTMIN + number - kRealTime;
  if (value >= v1::SIGNAL_SIGRTMIN && value <= v1::SIGNAL_SIGRTMAX) return static_cast<v1::Signal>(value);
  return v1::SIGNAL_RUNTIME_DEFAULT;
}

image::Credentials ToCredentials(const v1::AuthConfig& auth) {
  image::Credentials credentials;
  credentials.username = auth.username();
  credentials.password = auth.password();
  credentials.auth = auth.auth();
  credentials.identity_token = auth.identity_token();
  credentials.registry_token = auth.registry_token();
  credentials.server_address = auth.server_address();
  return credentials;
}

}  // namespace davit::cri
