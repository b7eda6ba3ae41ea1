#include "container/containers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/fault.h"
#include "base/log.h"
#include "base/rollback.h"
#include "base/strings.h"
#include "container/declared_volumes.h"
#include "container/exec_process.h"
#include "container/log_directory.h"
#include "container/mounts.h"
#include "container/own_files.h"
#include "container/own_mounts.h"
#include "container/resources.h"
#include "container/selinux.h"
#include "container/user_namespace.h"
#include "sys/atomic_file.h"
#include "sys/process.h"
#include "sys/rooted.h"
#include "sys/systemd_bus.h"
#include "sys/systemd_limits.h"
#include "sys/systemd_names.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

// The record has the absolute path of the file, of which the request's is the end.
Status MakeLogDirectory(const ContainerRecord& record) {
  const std::string& relative = record.spec.log_path;
  return MakeLogDirectories(record.log_path.substr(0, record.log_path.size() - relative.size()), relative);
}

}  // namespace

Containers::Containers(ContainersOptions options, store::Rootfs& rootfs, sys::CgroupLayout cgroups)
    : options_(std::move(options)), rootfs_(rootfs), cgroups_(std::move(cgroups)) {}

const RuntimeEntry* Containers::Handler(const std::string& name) const {
  auto it = options_.handlers.find(name);
  return it == options_.handlers.end() ? nullptr : &it->second;
}

Result<ContainerRecord> Containers::Create(ContainerRecord record, const CreateInputs& inputs, Deadline deadline) {
  const std::string directory = options_.paths.Directory(record.id);
  RETURN_IF_ERROR(sys::MakeDirectories(directory, 0700));
  FaultPoint("container.create.directory");
  ASSIGN_OR_RETURN(oci::RuntimeSpec spec, PrepareRootfs(record, inputs, deadline));
  FaultPoint("container.create.rootfs");
  RETURN_IF_ERROR(WriteBundle(record, spec));
  if (!record.log_path.empty()) RETURN_IF_ERROR(MakeLogDirectory(record));
  FaultPoint("container.create.bundle");
  ASSIGN_OR_RETURN(monitor::State state, Launch(record, deadline));
  FaultPoint("container.create.monitor");
  record.pid = state.pid;
  RETURN_IF_ERROR(CheckCgroup(record));
  // The runtime has told systemd of the others.
  if (!record.spec.resources.unified.empty()) RETURN_IF_ERROR(KeepLimits(record));
  return record;
}

// A runtime that puts the first process elsewhere, or leaves a limit out, lets the container escape both
// (CVE-2025-47291). Checked before anything of the image runs; a few small files.
Status Containers::CheckCgroup(const ContainerRecord& record) const {
  if (record.pid <= 0) return {};
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile("/proc/" + std::to_string(record.pid) + "/cgroup", 1 << 16));
  for (const std::string& line : Split(Trim(text), '\n')) {
    // "4:memory:/pod/ctr"; "0::/pod/ctr" is version 2.
    size_t first = line.find(':');
    size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = line.substr(first + 1, second - first - 1);
    bool limits = controllers.empty()
                      ? options_.node.cgroup_v2
                      : controllers == "memory" || controllers == "pids" || controllers.rfind("cpu", 0) == 0;
    // In a container of its own davitd sees a part of the hierarchy, the kernel names the whole path.
    if (!limits || line.ends_with(record.cgroup)) continue;
    return Internal("runtime handler " + record.runtime_handler + " put the container into cgroup " +
                    Printable(line.substr(second + 1)) + " instead of " + record.cgroup + " (" + controllers + ")");
  }
  return sys::CheckCgroupLimits(cgroups_, record.cgroup, ToCgroupLimits(record.spec.resources, options_.node.cgroups))
      .Annotate("limits after create");
}

Status Containers::KeepLimits(const ContainerRecord& record) const {
  return sys::KeepUnitLimits(cgroups_, record.cgroup, Deadline::After(std::chrono::seconds(30)));
}

Status Containers::ApplyResources(const ContainerRecord& record, const sys::Resources& resources) const {
  auto confirm = [&] { return KeepLimits(record); };
  Status status =
      sys::ApplyCgroupLimits(cgroups_, record.cgroup, ToCgroupLimits(resources, options_.node.cgroups), confirm);
  if (status.code() == StatusCode::kNotFound) return FailedPrecondition("it has ended: " + status.message());
  return status;
}

Result<oci::RuntimeSpec> Containers::PrepareRootfs(ContainerRecord& record, const CreateInputs& inputs,
                                                   Deadline deadline) {
  const std::string rootfs = options_.paths.Rootfs(record.id);
  SpecInputs spec_inputs;
  spec_inputs.record = &record;
  spec_inputs.image = inputs.image;
  spec_inputs.pod = &inputs.pod;
  spec_inputs.node = &options_.node;
  spec_inputs.rootfs = rootfs;
  spec_inputs.mounts_directory = options_.paths.Mounts(record.id);
  if (const RuntimeEntry* handler = Handler(record.runtime_handler)) {
    spec_inputs.handler = handler->settings;
    spec_inputs.seccomp_bpf = handler->features.seccomp_bpf;
  }
  // Before the mount: bad input found here costs nothing.
  ASSIGN_OR_RETURN(RuntimePlan plan, BuildRuntimeSpec(spec_inputs));
  ASSIGN_OR_RETURN(std::vector<std::string> volumes, DeclaredVolumes(inputs.image->volumes, plan.spec.mounts));

  store::RootfsMount mount;
  mount.layers = inputs.layer_paths;
  mount.target = rootfs;
  mount.context = plan.spec.linux_.mount_label;
  mount.user_namespace = inputs.pod.user_namespace;
  mount.ids = MappedIds(inputs.pod);
  record.host_root = mount.ids.outside;
  if (!mount.user_namespace.empty()) RETURN_IF_ERROR(OpenToMappedRoot(record.id, inputs.pod));
  RETURN_IF_ERROR(rootfs_.Mount(record.id, mount).Annotate("mount rootfs"));
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open(rootfs, O_PATH | O_DIRECTORY));
  ASSIGN_OR_RETURN(User user, ResolveUser(root.get(), record.spec.security, inputs.image->user));
  // Conveniences: an image in which they cannot be made runs without.
  Status made = AddMtab(root.get(), record.host_root);
  if (made.ok() && options_.add_user_entry) made = AddUserEntry(root.get(), user);
  if (!made.ok()) LogWarning("container {}: {}", record.id.Short(), made.message());
  RETURN_IF_ERROR(LabelFiles(record.spec, inputs.pod, mount.context, deadline));
  record.uid = user.uid;
  record.gid = user.gid;
  record.groups = user.groups;
  SetUser(plan.spec, user);

  for (OwnMount& own : plan.own_mounts) {
    auto layers = inputs.image_volumes.find(own.index);
    if (layers != inputs.image_volumes.end()) own.layers = layers->second;
    own.context = mount.context;
  }
  FaultPoint("container.create.mounts");
  RETURN_IF_ERROR(MakeOwnMounts(spec_inputs.mounts_directory, plan.own_mounts, inputs.pod.user_namespace));
  RETURN_IF_ERROR(FillVolumes(record.spec, inputs, root.get(), mount.ids.outside, deadline));
  if (!volumes.empty()) {
    VolumeOwner owner{mount.ids.outside, mount.ids.outside};
    ASSIGN_OR_RETURN(std::vector<oci::SpecMount> mounts,
                     MakeDeclaredVolumes(volumes, root.get(), rootfs_.VolumesDir(record.id), owner, deadline));
    for (const oci::SpecMount& volume : mounts) {
      if (!options_.node.selinux || mount.context.empty()) break;
      RETURN_IF_ERROR(RelabelTree(*options_.node.selinux, volume.source, mount.context, deadline));
    }
    plan.spec.mounts.insert(plan.spec.mounts.end(), mounts.begin(), mounts.end());
    SortMounts(plan.spec.mounts);
  }
  return std::move(plan.spec);
}

Status Containers::FillVolumes(const ContainerSpec& spec, const CreateInputs& inputs, int rootfs_fd, uint32_t host_root,
                               Deadline deadline) {
  for (const Mount& mount : spec.mounts) {
    if (mount.volume.empty() || inputs.volumes == nullptr) continue;
    auto fill = [&](const std::string& directory) {
      return FillFromImage(rootfs_fd, mount.container_path, directory, {host_root, host_root}, deadline);
    };
    RETURN_IF_ERROR(inputs.volumes->Fill(mount.volume, mount.volume_no_copy || !mount.volume_sub_path.empty()
                                                           ? std::function<Status(const std::string&)>()
                                                           : fill));
  }
  return {};
}

// OCI runtimes walk to the rootfs as root of the user namespace, to whom the node's 0700 directories are
// closed. Of Davit's own only the two above the containers open, and only for passing through; the
// container's lets the pod's group pass, so that no other user of the node reaches the set-user-id programs of
// its image (CVE-2021-41103). The next start of davitd closes the first one again.
Status Containers::OpenToMappedRoot(const ContainerId& id, const PodEnvironment& pod) {
  const std::string directory = options_.paths.Directory(id);
  if (::chown(directory.c_str(), 0, MappedIds(pod).outside) != 0 || ::chmod(directory.c_str(), 0710) != 0) {
    return ErrnoError(errno, "open " + directory);
  }
  for (const std::string& path : {options_.paths.state + "/containers", options_.paths.state}) {
    if (::chmod(path.c_str(), 0711) != 0) return ErrnoError(errno, "open " + path);
  }
  // What lies above is the administrator's.
  for (size_t slash = options_.paths.state.rfind('/'); slash != 0 && slash != std::string::npos;
       slash = options_.paths.state.rfind('/', slash - 1)) {
    const std::string above = options_.paths.state.substr(0, slash);
    struct stat info {};
    if (::stat(above.c_str(), &info) != 0) return ErrnoError(errno, "stat " + above);
    if ((info.st_mode & S_IXOTH) == 0) {
      return FailedPrecondition("user namespaces: " + above +
                                " is closed to other users (make it searchable: chmod o+x)");
    }
  }
  return {};
}

Status Containers::LabelFiles(const ContainerSpec& spec, const PodEnvironment& pod, const std::string& label,
                              Deadline deadline) {
  if (!options_.node.selinux || label.empty()) return {};
  const Selinux& selinux = *options_.node.selinux;
  for (const std::string& path : {pod.hosts_file, pod.hostname_file, pod.resolv_conf, pod.shm_directory}) {
    // The node's own /dev/shm keeps its label.
    if (path.empty() || path == "/dev/shm") continue;
    RETURN_IF_ERROR(selinux.SetFileLabel(path, label).Annotate(path));
  }
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    const Mount& mount = spec.mounts[i];
    if (!mount.selinux_relabel || mount.host_path.empty()) continue;
    Result<std::string> resolved = options_.node.host_paths.Resolve(mount.host_path);
    if (!resolved.ok()) continue;  // its bind mount will say so
    RETURN_IF_ERROR(RelabelTree(selinux, *resolved, label, deadline).Annotate("mounts[" + std::to_string(i) + "]"));
  }
  return {};
}

Status Containers::WriteBundle(const ContainerRecord& record, const oci::RuntimeSpec& spec) {
  const std::string bundle = options_.paths.Bundle(record.id);
  RETURN_IF_ERROR(sys::MakeDirectories(bundle, 0700));
  RETURN_IF_ERROR(sys::MakeDirectories(options_.paths.Execs(record.id), 0700));
  RETURN_IF_ERROR(sys::WriteFileAtomic(bundle + "/config.json", oci::ToJson(spec), 0600, sys::Durability::kAtomic));
  return sys::WriteFileAtomic(bundle + "/process.json", oci::ToJson(spec.process), 0600, sys::Durability::kAtomic);
}

Result<monitor::State> Containers::Launch(const ContainerRecord& record, Deadline deadline) {
  const RuntimeEntry* handler = Handler(record.runtime_handler);
  if (handler == nullptr) return NotFound("runtime handler \"" + Printable(record.runtime_handler) + "\"");
  const Paths& paths = options_.paths;
  monitor::LaunchOptions launch;
  const HandlerSettings& settings = handler->settings;
  launch.monitor_path = settings.monitor_path.empty() ? options_.monitor_path : settings.monitor_path;
  launch.directory = paths.Directory(record.id);
  launch.log_path = record.log_path;
  launch.terminal = record.spec.tty;
  launch.stdio_owner = record.host_root;
  launch.descriptor_limit = options_.descriptor_limit;
  launch.open_stdin = record.spec.open_stdin;
  launch.stdin_once = record.spec.stdin_once;
  launch.pid_file = paths.PidFile(record.id);
  launch.runtime_log = paths.RuntimeLog(record.id);
  if (launch.terminal) {
    RETURN_IF_ERROR(sys::MakeDirectories(paths.ConsoleDirectory(), 0700));
    launch.console_socket = paths.ConsoleSocket(record.id);
  }
  launch.create_argv = handler->driver.CreateArgv(record.id.str(), paths.Bundle(record.id), launch.pid_file,
                                                  launch.console_socket, launch.runtime_log);
  launch.start_argv = handler->driver.StartArgv(record.id.str(), launch.runtime_log);
  launch.environment = sys::MinimalEnvironment();
  launch.oom_file = cgroups_.OomFile(record.cgroup);
  launch.max_log_line_bytes = static_cast<uint32_t>(settings.max_log_line_bytes > 0 ? settings.max_log_line_bytes
                                                                                    : options_.max_log_line_bytes);
  // The kubelet rotates its containers' logs; nobody else does those of the others.
  if (const auto& own = record.spec.standalone) {
    const int64_t bytes = own->log_max_bytes != 0 ? own->log_max_bytes : options_.standalone_log_bytes;
    launch.max_log_bytes = static_cast<uint64_t>(std::max<int64_t>(bytes, 0));
    launch.max_log_files = own->log_max_files != 0 ? own->log_max_files
                           // Docker's rule: whoever names a size alone keeps one file.
                           : own->log_max_bytes > 0 ? 1
                                                    : static_cast<uint32_t>(options_.standalone_log_files);
  }
  return monitor::Launch(launch, deadline);
}

Result<monitor::State> Containers::Start(const ContainerRecord& record, Deadline deadline) {
  return monitor::Start(options_.paths.Directory(record.id), deadline);
}

Status Containers::Signal(const ContainerRecord& record, int signal, bool all) {
  Status status = monitor::Signal(options_.paths.Directory(record.id), signal, all);
  // It has ended already: there is nobody left to signal.
  if (status.code() == StatusCode::kNotFound || status.code() == StatusCode::kFailedPrecondition) return {};
  return status;
}

Status Containers::CleanUp(const ContainerRecord& record, Deadline deadline) {
  if (!record.cgroup.empty() && sys::CgroupExists(cgroups_, record.cgroup)) {
    RETURN_IF_ERROR(sys::KillCgroup(cgroups_, record.cgroup, deadline));
  }
  Status status;
  if (const RuntimeEntry* handler = Handler(record.runtime_handler)) {
    status = handler->driver.Delete(record.id.str(), /*force=*/true, deadline);
  }
  // The runtime removes the cgroup; one that it never came to know remains ours.
  if (record.cgroup.empty() || !sys::CgroupExists(cgroups_, record.cgroup)) return status;
  if (sys::IsScope(record.cgroup)) {
    status = status.WithUndoError(sys::StopUnit(sys::UnitName(record.cgroup), deadline));
  }
  status = status.WithUndoError(sys::RemoveCgroup(cgroups_, record.cgroup));
  return status;
}

Result<std::vector<ContainerId>> Containers::ListDirectories() const {
  std::vector<ContainerId> ids;
  std::error_code error;
  const std::string directory = options_.paths.state + "/containers";
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (Result<ContainerId> id = ContainerId::Parse(it->path().filename().string()); id.ok()) ids.push_back(*id);
  }
  if (error && error != std::errc::no_such_file_or_directory) return ErrnoError(error.value(), "list " + directory);
  return ids;
}

Status Containers::Destroy(const ContainerRecord& record, Deadline deadline) {
  RETURN_IF_ERROR(Release(record, deadline));
  RETURN_IF_ERROR(rootfs_.RemoveWritable(record.id).Annotate("remove writable layer"));
  FaultPoint("container.destroy.writable");
  return sys::RemoveTree(options_.paths.Directory(record.id)).Annotate("remove run directory");
}

Status Containers::TakeDown(const ContainerRecord& record, Deadline deadline) {
  RETURN_IF_ERROR(Release(record, deadline));
  return sys::RemoveTree(options_.paths.Directory(record.id)).Annotate("remove run directory");
}

Status Containers::Release(const ContainerRecord& record, Deadline deadline) {
  const std::string directory = options_.paths.Directory(record.id);
  RETURN_IF_ERROR(monitor::Destroy(directory, deadline).Annotate("end monitor"));
  FaultPoint("container.destroy.monitor");
  RETURN_IF_ERROR(CleanUp(record, deadline).Annotate("delete from runtime"));
  FaultPoint("container.destroy.runtime");
  RETURN_IF_ERROR(RemoveOwnMounts(options_.paths.Mounts(record.id)).Annotate("remove mounts"));
  FaultPoint("container.destroy.mounts");
  RETURN_IF_ERROR(rootfs_.Unmount(record.id, options_.paths.Rootfs(record.id)).Annotate("unmount rootfs"));
  FaultPoint("container.destroy.unmount");
  return {};
}

Result<monitor::ExecSession> Containers::Exec(const ContainerRecord& record, const ExecRequest& request,
                                              Deadline deadline) {
  const RuntimeEntry* handler = Handler(record.runtime_handler);
  if (handler == nullptr) return NotFound("runtime handler \"" + Printable(record.runtime_handler) + "\"");
  const Paths& paths = options_.paths;
  // Random and not counted: two davitd processes, one after the other, must not meet in a name.
  const std::string name = MintId().substr(0, 16);
  const std::string directory = paths.Execs(record.id) + "/" + name;
  RETURN_IF_ERROR(sys::MakeDirectories(directory, 0700));
  Rollback remove;
  remove.Add("exec directory", [&] { return sys::RemoveTree(directory); });

  ExecProcess exec{request.command, request.terminal, &request.change, nullptr, options_.node.capabilities};
  User user;
  if (!request.change.user.empty()) {
    ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open(paths.Rootfs(record.id), O_PATH | O_DIRECTORY));
    ASSIGN_OR_RETURN(user, ResolveUser(root.get(), SecurityContext(), request.change.user));
    exec.user = &user;
  }
  ASSIGN_OR_RETURN(std::string process, ExecProcessJson(paths.Bundle(record.id) + "/process.json", exec));
  const std::string process_file = directory + "/process.json";
  RETURN_IF_ERROR(sys::WriteFileAtomic(process_file, process, 0600, sys::Durability::kAtomic));

  monitor::ExecOptions options;
  options.pid_file = directory + "/pid";
  options.runtime_log = directory + "/runtime.log";
  options.terminal = request.terminal;
  if (request.terminal) {
    RETURN_IF_ERROR(sys::MakeDirectories(paths.ConsoleDirectory(), 0700));
    options.console_socket = paths.ConsoleDirectory() + "/" + name;
  }
  options.stdin_fd = request.stdin_fd;
  options.stdout_fd = request.stdout_fd;
  options.stderr_fd = request.stderr_fd;
  for (int fd : {request.stdin_fd, request.stdout_fd, request.stderr_fd}) {
    // For the same reason as monitor::LaunchOptions::stdio_owner.
    if (fd < 0 || record.host_root == 0) continue;
    if (::fchown(fd, record.host_root, record.host_root) != 0) return ErrnoError(errno, "chown pipe");
  }
  options.argv = handler->driver.ExecArgv(record.id.str(), process_file, options.pid_file, options.console_socket,
                                          options.runtime_log);
  // Once it runs nobody reads the files any more: `remove` may take them.
  return monitor::Exec(paths.Directory(record.id), options, deadline);
}

}  // namespace davit::container
