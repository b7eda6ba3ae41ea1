#include "pod/sandboxes.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "network/name_server.h"
#include "network/named_networks.h"
#include "pod/files.h"
#include "pod/init_process.h"
#include "pod/resources.h"
#include "pod/sysctls.h"
#include "pod/user_namespace.h"
#include "sys/atomic_file.h"
#include "sys/mounts.h"
#include "sys/namespaces.h"
#include "sys/process.h"
#include "sys/systemd_bus.h"
#include "sys/systemd_limits.h"
#include "sys/systemd_names.h"
#include "sys/user_namespace.h"

namespace davit::pod {
namespace {

constexpr size_t kMaxNodeFile = 1 << 20;
constexpr size_t kMaxPortMappings = 1024;

std::string NodeHostname() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

std::string InitCgroup(const PodRecord& record) {
  // Units have one name space for the whole node, directories have not.
  std::string name = sys::IsSlice(record.cgroup) ? "davit-init-" + record.id.str() : "davit-init";
  return sys::ChildCgroup(record.cgroup, name);
}

network::Protocol ToNetwork(Protocol protocol) {
  switch (protocol) {
    case Protocol::kUdp:
      return network::Protocol::kUdp;
    case Protocol::kSctp:
      return network::Protocol::kSctp;
    case Protocol::kTcp:
      break;
  }
  return network::Protocol::kTcp;
}

Protocol FromNetwork(network::Protocol protocol) {
  switch (protocol) {
    case network::Protocol::kUdp:
      return Protocol::kUdp;
    case network::Protocol::kSctp:
      return Protocol::kSctp;
    case network::Protocol::kTcp:
      break;
  }
  return Protocol::kTcp;
}

}  // namespace

Status Sandboxes::Validate(const PodSpec& spec) const {
  if (spec.name.empty()) return InvalidArgument("metadata.name is empty");
  if (spec.uid.empty()) return InvalidArgument("metadata.uid is empty");
  RETURN_IF_ERROR(ValidateUserNamespace(spec));
  if (spec.network == NamespaceMode::kContainer || spec.network == NamespaceMode::kTarget) {
    return InvalidArgument("linux.security_context.namespace_options.network: only POD and NODE");
  }
  if (spec.ipc == NamespaceMode::kContainer || spec.ipc == NamespaceMode::kTarget) {
    return InvalidArgument("linux.security_context.namespace_options.ipc: only POD and NODE");
  }
  if (spec.pid == NamespaceMode::kTarget) {
    return InvalidArgument("linux.security_context.namespace_options.pid: TARGET is for containers only");
  }
  if (spec.port_mappings.size() > kMaxPortMappings) return InvalidArgument("port_mappings: more than 1024");
  if (!spec.log_directory.empty() && spec.log_directory[0] != '/') {
    return InvalidArgument("log_directory \"" + Printable(spec.log_directory) + "\" is not absolute");
  }
  RETURN_IF_ERROR(ValidateHostname(spec.hostname));
  if (spec.has_dns) RETURN_IF_ERROR(ResolvConf(spec.dns).status());
  RETURN_IF_ERROR(ExtraHosts(spec.extra_hosts).status());
  RETURN_IF_ERROR(ValidateResources(spec));
  return ValidateSysctls(spec);
}

namespace {

Status SetHostname(const std::string& hostname) {
  if (::sethostname(hostname.data(), hostname.size()) != 0) return ErrnoError(errno, "set hostname " + hostname);
  return {};
}

}  // namespace

Sandboxes::Sandboxes(SandboxesOptions options, network::Network& network, sys::CgroupLayout cgroups)
    : options_(std::move(options)), network_(network), cgroups_(std::move(cgroups)) {}

Deadline Sandboxes::NetworkDeadline(Deadline deadline) const {
  return deadline.Min(Deadline::After(options_.network_timeout));
}

network::NetworkRequest Sandboxes::RequestFor(const PodRecord& record) const {
  network::NetworkRequest request;
  request.pod = record.id;
  request.name = record.spec.name;
  request.namespace_ = record.spec.namespace_name;
  request.uid = record.spec.uid;
  request.netns_path = options_.paths.Namespace(record.id, "net");
  request.annotations = record.spec.annotations;
  request.cgroup_path = record.cgroup;
  for (const PortMapping& port : record.spec.port_mappings) {
    request.ports.push_back({ToNetwork(port.protocol), port.container_port, port.host_port, port.host_ip});
  }
  request.random_ports = record.spec.random_ports;
  if (!record.spec.standalone) return request;
  for (const NetworkEndpoint& endpoint : record.spec.networks) {
    request.endpoints.push_back(ToEndpointRequest(endpoint));
  }
  if (request.endpoints.empty()) request.endpoints.emplace_back();  // the default network
  return request;
}

network::EndpointRequest ToEndpointRequest(const NetworkEndpoint& endpoint) {
  network::EndpointRequest request{endpoint.network, {}, endpoint.mac_address, endpoint.interface};
  for (const std::string& address : {endpoint.ipv4_address, endpoint.ipv6_address}) {
    if (!address.empty()) request.addresses.push_back(address);
  }
  return request;
}

void SetAttachment(PodRecord& record, const network::Attachment& attachment) {
  record.attachment = attachment.empty() ? "" : attachment.ToJson();
  record.ips = attachment.ips;
  record.endpoints.clear();
  record.ports.clear();
  for (const network::EndpointAttachment& endpoint : attachment.endpoints) {
    if (endpoint.result.empty() || endpoint.leaving) continue;
    network::EndpointAddresses addresses = network::AddressesOf(endpoint);
    AttachedEndpoint shown{
        endpoint.network, endpoint.interface, addresses.ip_cidrs, addresses.gateway, addresses.mac, {}, endpoint.dns};
    for (const NetworkEndpoint& asked : record.spec.networks) {
      const bool default_one = asked.network.empty() && endpoint.network == network::kDefaultNetwork;
      if (asked.network == endpoint.network || default_one) shown.aliases = asked.aliases;
    }
    record.endpoints.push_back(std::move(shown));
  }
  if (attachment.endpoints.empty()) return;
  for (const network::PortMapping& port : attachment.ports) {
    record.ports.push_back({FromNetwork(port.protocol), port.container_port, port.host_port, port.host_ip});
  }
}

void ClearAttachment(PodRecord& record) { SetAttachment(record, network::Attachment()); }

Result<PodRecord> Sandboxes::Plan(PodRecord record) const {
  RETURN_IF_ERROR(Validate(record.spec));
  bool host_network = record.spec.network == NamespaceMode::kNode;
  record.hostname = host_network                    ? NodeHostname()
                    : !record.spec.hostname.empty() ? record.spec.hostname
                                                    : record.id.str().substr(0, 12);
  ASSIGN_OR_RETURN(record, PlanCgroup(std::move(record)));
  if (options_.inspect_cgroups) record.inspect_cgroup = record.cgroup + "/crio-" + record.id.str();
  record.resolver = false;
  if (!host_network && !record.spec.no_network) {
    ASSIGN_OR_RETURN(network::Attachment planned, network_.Plan(RequestFor(record)));
    record.attachment = planned.ToJson();
    const bool named = std::any_of(planned.endpoints.begin(), planned.endpoints.end(),
                                   [](const network::EndpointAttachment& endpoint) { return endpoint.dns; });
    // A server at the node's loopback is not there for a pod: it is asked from outside of it.
    record.resolver = record.spec.standalone && (named || HasLocalServer(DnsOf(record.spec, NodeDns())));
  }
  return record;
}

Result<PodRecord> Sandboxes::PlanCgroup(PodRecord record) const {
  const std::string& parent = record.spec.cgroup_parent;
  if (options_.systemd_cgroups) {
    // A slice that the client names is the client's to end: stopping one ends every pod in it.
    record.owns_cgroup = parent.empty();
    std::string slice = parent.empty() ? "davit-pod" + record.id.str() + ".slice" : parent;
    ASSIGN_OR_RETURN_WITH(record.cgroup, sys::SliceOfParent(slice),
                          "linux.cgroup_parent (the cgroup driver is systemd, the client's must be too)");
    return record;
  }
  if (parent.empty()) {
    record.cgroup = "/davit-pod-" + record.id.str();
  } else {
    ASSIGN_OR_RETURN_WITH(record.cgroup, sys::CleanCgroupPath(parent), "linux.cgroup_parent");
    if (sys::IsSlice(record.cgroup)) {
      return InvalidArgument("linux.cgroup_parent: \"" + Printable(parent) +
                             "\" is a slice of systemd, but the cgroup driver is cgroupfs: the client's must be too");
    }
  }
  record.owns_cgroup = !sys::CgroupExists(cgroups_, record.cgroup);
  return record;
}

Result<PodRecord> Sandboxes::Run(PodRecord record, Deadline deadline) {
  RETURN_IF_ERROR(sys::MakeDirectories(options_.paths.Namespaces(record.id), 0700));
  FaultPoint("pod.run.directory");
  RETURN_IF_ERROR(MakeNamespaces(record).Annotate("make namespaces"));
  FaultPoint("pod.run.namespaces");
  if (record.spec.network != NamespaceMode::kNode && !record.spec.no_network) {
    ASSIGN_OR_RETURN(network::Attachment planned, network::Attachment::Parse(record.attachment));
    ASSIGN_OR_RETURN_WITH(network::Attachment attached,
                          network_.Attach(RequestFor(record), planned, NetworkDeadline(deadline)), "attach network");
    SetAttachment(record, attached);
  }
  FaultPoint("pod.run.network");
  RETURN_IF_ERROR(WriteFiles(record).Annotate("write files"));
  FaultPoint("pod.run.files");
  RETURN_IF_ERROR(MountShm(record).Annotate("mount shm"));
  FaultPoint("pod.run.shm");
  RETURN_IF_ERROR(ApplyResources(record).Annotate("limit the pod's cgroup"));
  FaultPoint("pod.run.limits");
  if (!record.inspect_cgroup.empty()) {
    RETURN_IF_ERROR(sys::CreateCgroup(cgroups_, record.inspect_cgroup).status().Annotate("make cgroup for cAdvisor"));
  }
  if (record.spec.pid == NamespaceMode::kPod) {
    ASSIGN_OR_RETURN_WITH(record, StartInit(std::move(record), deadline), "start init");
  }
  FaultPoint("pod.run.init");
  return record;
}

Status Sandboxes::ValidateResources(const PodSpec& spec) const {
  RETURN_IF_ERROR(pod::ValidateResources(spec.resources, options_.cgroup_abilities, "linux.resources"));
  return pod::ValidateResources(spec.overhead, options_.cgroup_abilities, "linux.overhead");
}

Status Sandboxes::ApplyResources(const PodRecord& record) const {
  if (!record.spec.cgroup_parent.empty()) return {};
  sys::CgroupLimits limits = PodLimits(record.spec, options_.cgroup_abilities);
  if (limits.empty()) return {};
  if (!sys::IsSlice(record.cgroup)) {
    RETURN_IF_ERROR(sys::CreateCgroup(cgroups_, record.cgroup).status());
    return sys::ApplyCgroupLimits(cgroups_, record.cgroup, limits);
  }
  const Deadline deadline = Deadline::After(std::chrono::seconds(30));
  RETURN_IF_ERROR(sys::StartSlice(sys::UnitName(record.cgroup), "pod " + record.id.Short(), deadline));
  // systemd would write what it knows of the slice again, at its next reload.
  return sys::ApplyCgroupLimits(cgroups_, record.cgroup, limits,
                                [&] { return sys::KeepUnitLimits(cgroups_, record.cgroup, deadline); });
}

Status Sandboxes::MakeNamespaces(const PodRecord& record) {
  std::vector<sys::PinRequest> pins;
  bool own_network = record.spec.network != NamespaceMode::kNode;
  if (own_network) {
    pins.push_back({sys::NamespaceKind::kNet, options_.paths.Namespace(record.id, "net")});
    // A pod on the node's network has the node's name too.
    pins.push_back({sys::NamespaceKind::kUts, options_.paths.Namespace(record.id, "uts")});
  }
  if (record.spec.ipc != NamespaceMode::kNode) {
    pins.push_back({sys::NamespaceKind::kIpc, options_.paths.Namespace(record.id, "ipc")});
  }
  if (pins.empty()) return {};
  auto inside = [&]() -> Status {
    if (own_network) RETURN_IF_ERROR(SetHostname(record.hostname));
    return ApplySysctls(record.spec);
  };
  if (record.spec.has_user_namespace()) {
    sys::UserNamespaceRequest user{ToIdMap(record.spec), options_.paths.Namespace(record.id, "user")};
    return sys::CreatePinnedNamespacesIn(user, pins, inside);
  }
  return sys::CreatePinnedNamespaces(pins, inside);
}

Status Sandboxes::WriteFiles(const PodRecord& record) {
  const std::string files = options_.paths.Files(record.id);
  RETURN_IF_ERROR(sys::MakeDirectories(files, 0755));
  // On a file system of their own: containers may write into these files, and must not fill the node's.
  RETURN_IF_ERROR(sys::Mount("files", files, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, "mode=755,size=1m"));
  auto write = [&](const std::string& name, const std::string& text) -> Status {
    const std::string path = files + "/" + name;
    RETURN_IF_ERROR(sys::WriteFileAtomic(path, text, 0644, sys::Durability::kAtomic));
    // The pod's own root may edit them, as it may without a user namespace.
    if (!record.spec.has_user_namespace()) return {};
    int changed = ::chown(path.c_str(), MappedRootUser(record.spec), MappedRootGroup(record.spec));
    return changed == 0 ? Status() : ErrnoError(errno, "chown " + path);
  };
  std::string hosts;
  if (record.spec.network == NamespaceMode::kNode) {
    ASSIGN_OR_RETURN(hosts, sys::ReadFile("/etc/hosts", kMaxNodeFile));
  } else {
    ASSIGN_OR_RETURN(hosts, HostsFile(record.hostname, record.ips));
  }
  ASSIGN_OR_RETURN(std::string extra, ExtraHosts(record.spec.extra_hosts));
  hosts += extra;
  RETURN_IF_ERROR(write("hosts", hosts));
  RETURN_IF_ERROR(write("hostname", record.hostname + "\n"));
  std::string resolv;
  if (record.resolver) {
    ASSIGN_OR_RETURN(resolv, ResolvConfAt(network::kResolverAddress, DnsOf(record.spec, NodeDns())));
  } else if (record.spec.standalone && record.spec.has_dns) {
    ASSIGN_OR_RETURN(resolv, ResolvConf(DnsOf(record.spec, NodeDns())));
  } else if (record.spec.has_dns) {
    ASSIGN_OR_RETURN(resolv, ResolvConf(record.spec.dns));
  } else if (Result<std::string> node = sys::ReadFile("/etc/resolv.conf", kMaxNodeFile); node.ok()) {
    resolv = *node;
  }
  return write("resolv.conf", resolv);
}

Status Sandboxes::MountShm(const PodRecord& record) {
  if (record.spec.ipc == NamespaceMode::kNode) return {};  // containers get the node's /dev/shm
  const std::string shm = options_.paths.Shm(record.id);
  RETURN_IF_ERROR(sys::MakeDirectories(shm, 0755));
  std::string options =
      "mode=1777,size=" + (record.shm_bytes > 0 ? std::to_string(record.shm_bytes) : std::string("65536k"));
  if (record.spec.has_user_namespace()) {
    options +=
        ",uid=" + std::to_string(MappedRootUser(record.spec)) + ",gid=" + std::to_string(MappedRootGroup(record.spec));
  }
  return sys::Mount("shm", shm, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, options);
}

Result<PodRecord> Sandboxes::StartInit(PodRecord record, Deadline deadline) {
  const std::string cgroup = InitCgroup(record);
  const bool scope = sys::IsScope(cgroup);
  sys::SpawnOptions spawn;
  spawn.argv = {options_.init_path};
  for (const char* kind : {"net", "ipc", "uts", "user"}) {
    std::string path = options_.paths.Namespace(record.id, kind);
    if (::access(path.c_str(), F_OK) == 0) {
      spawn.argv.push_back(std::string("--") + kind + "ns");
      spawn.argv.push_back(path);
    }
  }
  if (!record.selinux_mount_label.empty()) {
    spawn.argv.emplace_back("--mount-label");
    spawn.argv.push_back(record.selinux_mount_label);
  }
  // Of version 1, systemd has only some hierarchies in its hands.
  if (!scope || cgroups_.mode() != sys::CgroupMode::kUnified) {
    RETURN_IF_ERROR(sys::CreateCgroup(cgroups_, cgroup).status());
    for (const std::string& directory : cgroups_.Directories(cgroup)) {
      spawn.argv.emplace_back("--cgroup-procs");
      spawn.argv.push_back(directory + "/cgroup.procs");
    }
  }
  spawn.env = sys::MinimalEnvironment();
  spawn.cwd = "/";
  Result<sys::CommandResult> result =
      scope ? RunInitInScope(std::move(spawn), cgroup, "init of pod " + record.id.Short(), deadline)
            : sys::RunCommand(std::move(spawn), "", 4096, deadline);
  RETURN_IF_ERROR(result.status());
  std::optional<uint64_t> pid = ParseUint64(Trim(result->out));
  if (result->exit.code != 0 || !pid) {
    return Internal(options_.init_path + ": " + std::string(Trim(result->err)));
  }
  record.init_pid = static_cast<int64_t>(*pid);
  ASSIGN_OR_RETURN(record.init_start_time, sys::ProcessStartTime(static_cast<pid_t>(*pid)));
  FaultPoint("pod.run.init.spawned");
  const std::string pin = options_.paths.Namespace(record.id, "pid");
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(pin, O_WRONLY | O_CREAT, 0600));
  RETURN_IF_ERROR(sys::BindMount("/proc/" + std::to_string(*pid) + "/ns/pid", pin, /*recursive=*/false));
  return record;
}

Status Sandboxes::KillInit(const PodRecord& record, Deadline deadline) {
  // Through its cgroup and not through the recorded pid: a crash may have come before the record.
  if (sys::CgroupExists(cgroups_, InitCgroup(record))) {
    RETURN_IF_ERROR(sys::KillCgroup(cgroups_, InitCgroup(record), deadline));
    RETURN_IF_ERROR(sys::RemoveCgroup(cgroups_, InitCgroup(record)));
  }
  return {};
}

Status Sandboxes::RemoveCgroup(const PodRecord& record, Deadline deadline) {
  if (!sys::IsSlice(record.cgroup)) return sys::RemoveCgroup(cgroups_, record.cgroup);
  // Stopping a slice would kill what is in it; by now nothing may be.
  Result<std::vector<pid_t>> left = sys::ListProcesses(cgroups_, record.cgroup);
  if (left.ok() && !left->empty()) {
    return FailedPrecondition("remove " + record.cgroup + ": " + std::to_string(left->size()) +
                              " processes are in it, one is " + std::to_string(left->front()));
  }
  RETURN_IF_ERROR(sys::StopUnit(sys::UnitName(record.cgroup), deadline));
  return sys::RemoveCgroup(cgroups_, record.cgroup);
}

Status Sandboxes::DropNamespaces(const PodRecord& record) {
  Status first;
  for (const char* kind : {"pid", "ipc", "uts", "net", "user"}) {
    Status status = sys::Unpin(options_.paths.Namespace(record.id, kind));
    if (first.ok()) first = status;
  }
  return first;
}

Result<PodRecord> Sandboxes::Stop(PodRecord record, Deadline deadline) {
  RETURN_IF_ERROR(KillInit(record, deadline).Annotate("end init"));
  FaultPoint("pod.stop.init");
  // Nobody is in it; the path stays in the record, for a kill may come before the record is written.
  if (!record.inspect_cgroup.empty()) RETURN_IF_ERROR(sys::RemoveCgroup(cgroups_, record.inspect_cgroup));
  ASSIGN_OR_RETURN(network::Attachment attachment, network::Attachment::Parse(record.attachment));
  Status detached = network_.Detach(RequestFor(record), attachment, NetworkDeadline(deadline));
  if (detached.ok()) {
    ClearAttachment(record);
  } else {
    LogWarning("pod {} ({}/{}): detach network: {}; will be tried again", record.id.Short(), record.spec.namespace_name,
               record.spec.name, detached.message());
  }
  FaultPoint("pod.stop.network");
  RETURN_IF_ERROR(DropNamespaces(record));
  FaultPoint("pod.stop.namespaces");
  RETURN_IF_ERROR(sys::Unmount(options_.paths.Shm(record.id)));
  RETURN_IF_ERROR(sys::Unmount(options_.paths.Files(record.id)));
  record.init_pid = 0;
  record.init_start_time = 0;
  return record;
}

Status Sandboxes::Destroy(const PodRecord& record, Deadline deadline) {
  ASSIGN_OR_RETURN(PodRecord stopped, Stop(record, deadline));
  if (!stopped.attachment.empty()) {
    // Once more for the caller's sake: the reason belongs into its error.
    ASSIGN_OR_RETURN(network::Attachment attachment, network::Attachment::Parse(stopped.attachment));
    RETURN_IF_ERROR(
        network_.Detach(RequestFor(record), attachment, NetworkDeadline(deadline)).Annotate("detach network"));
  }
  if (record.owns_cgroup) {
    Status removed = RemoveCgroup(record, deadline);
    // A parent that the client named may be other pods' too, who made it with us: the last one takes it away.
    bool others = !record.spec.cgroup_parent.empty() && removed.code() == StatusCode::kFailedPrecondition;
    if (!others) RETURN_IF_ERROR(removed);
  }
  FaultPoint("pod.destroy.cgroup");
  return sys::RemoveTree(options_.paths.Directory(record.id));
}

namespace {

// Into the file that is there: containers have it mounted, and would keep the old one.
Status Overwrite(const std::string& path, const std::string& text) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_WRONLY | O_TRUNC | O_NOFOLLOW));
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return ErrnoError(errno, "write " + path);
  }
  return {};
}

}  // namespace

Status Sandboxes::UpdateHosts(const PodRecord& record, const std::vector<std::string>& ips_before) const {
  if (record.hostname.empty() || record.ips == ips_before) return {};
  const std::string path = options_.paths.Files(record.id) + "/hosts";
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(path, kMaxNodeFile));
  const std::string none = HostsFile("", {}).value_or("");
  auto own = [&](const std::string& ip) { return ip + "\t" + record.hostname + "\n"; };
  for (const std::string& ip : ips_before) {
    const std::string line = own(ip);
    const size_t at = text.starts_with(line) ? 0 : text.find("\n" + line);
    if (at != std::string::npos) text.erase(text.starts_with(line) ? 0 : at + 1, line.size());
  }
  // Where they stood: behind those of every pod, before what was asked for and what was written since.
  ASSIGN_OR_RETURN(std::string fresh, HostsFile(record.hostname, record.ips));
  fresh.erase(0, none.size());
  text.insert(text.starts_with(none) ? none.size() : 0, fresh);
  return Overwrite(path, text);
}

Status Sandboxes::UseResolver(PodRecord& record) const {
  ASSIGN_OR_RETURN(std::string text, ResolvConfAt(network::kResolverAddress, DnsOf(record.spec, NodeDns())));
  RETURN_IF_ERROR(Overwrite(options_.paths.Files(record.id) + "/resolv.conf", text));
  record.resolver = true;
  return {};
}

bool Sandboxes::Alive(const PodRecord& record) const {
  for (const char* kind : {"net", "ipc", "uts", "pid", "user"}) {
    std::string path = options_.paths.Namespace(record.id, kind);
    if (::access(path.c_str(), F_OK) != 0) continue;
    Result<bool> pinned = sys::IsMountPoint(path);
    if (!pinned.ok() || !*pinned) return false;
  }
  if (record.init_pid == 0) return true;
  Result<uint64_t> started = sys::ProcessStartTime(static_cast<pid_t>(record.init_pid));
  return started.ok() && *started == record.init_start_time;
}

}  // namespace davit::pod
