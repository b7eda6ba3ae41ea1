#include "engine/engine.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "container/cdi.h"
#include "container/seccomp_bpf.h"
#include "container/selinux.h"
#include "engine/cgroup_driver.h"
#include "engine/pull_plan.h"
#include "engine/state.h"
#include "registries/registries_conf.h"
#include "store/upper_probe.h"
#include "sys/atomic_file.h"
#include "sys/capabilities.h"
#include "sys/file_lock.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::engine {
namespace {

// Where Debian's golang-github-containers-common and its likes in other distributions put it.
constexpr const char* kPackagedSeccompProfile = "/usr/share/containers/seccomp.json";

Status NotPrivate(int error, const std::string& path) {
  if (error != EROFS) return ErrnoError(error, "chmod 0700 " + path);
  return FailedPrecondition(path + " is read-only: mount it read-write, or choose another directory");
}

Status MakePrivateDirectory(const std::string& path) {
  RETURN_IF_ERROR(sys::MakeDirectories(path, 0700));
  // Re-asserted on every start: images hold set-uid programs that no user of the node may reach
  // (CVE-2021-41103 class).
  if (::chmod(path.c_str(), 0700) != 0) return NotPrivate(errno, path);
  return {};
}

// A davitd ends what it finds in its state and has no record of: another's with a root of its own would be all of it.
Result<sys::UniqueFd> LockState(const std::string& directory) {
  Result<sys::UniqueFd> lock = sys::LockFile(directory + "/davitd.lock");
  if (lock.code() != StatusCode::kFailedPrecondition) return lock;
  return FailedPrecondition("the state directory " + directory +
                            " is in use by another davitd: each needs a root and a state of its own (--state)");
}

Result<container::NodeLimits> ReadNodeLimits(const config::Config& config, const sys::CgroupLayout& cgroups) {
  container::NodeLimits node;
  ASSIGN_OR_RETURN(node.capabilities, sys::BoundingCapabilities());
  std::set<std::string> held(node.capabilities.begin(), node.capabilities.end());
  node.may_lower_oom_score_adj = held.count("CAP_SYS_RESOURCE") != 0;
  ASSIGN_OR_RETURN(std::string adj, sys::ReadFile("/proc/self/oom_score_adj", 64));
  node.oom_score_adj = ParseInt64(Trim(adj)).value_or(0);
  node.cgroup_v2 = cgroups.mode() == sys::CgroupMode::kUnified;
  node.pids_limit = config.runtime.pids_limit;
  ASSIGN_OR_RETURN(node.cgroups, sys::CgroupAbilities::Read(cgroups));
  node.default_capabilities = config.runtime.default_capabilities.value_or(oci::DefaultCapabilities());
  node.seccomp_profile = config.runtime.seccomp_profile;
  if (node.seccomp_profile.empty() && ::access(kPackagedSeccompProfile, R_OK) == 0) {
    node.seccomp_profile = kPackagedSeccompProfile;
    node.tighten_seccomp = true;
  }
  node.seccomp_cache = std::make_shared<container::SeccompCache>();
  if (!config.runtime.cdi_spec_dirs.empty()) node.cdi = std::make_shared<container::Cdi>(config.runtime.cdi_spec_dirs);
  node.apparmor = container::PrepareAppArmor(config.state, Deadline::After(std::chrono::seconds(30)));
  if (!node.apparmor.problem.empty()) {
    LogWarning("AppArmor: containers without a wish run unconfined, those that ask for RuntimeDefault are refused: {}",
               node.apparmor.problem);
  }
  ASSIGN_OR_RETURN(node.selinux, container::OpenSelinux());
  return node;
}

// A name with a slip would be an annotation that silently has no effect.
Status CheckAllowedAnnotations(const std::string& handler, const std::vector<std::string>& names) {
  const std::vector<std::string> supported = container::SupportedAnnotations();
  for (const std::string& name : names) {
    if (std::find(supported.begin(), supported.end(), name) != supported.end()) continue;
    return FailedPrecondition("runtime.handlers." + handler + ".allowed_annotations: \"" + Printable(name) +
                              "\" is not supported (there are: " + Join(supported, ", ") + ")");
  }
  return {};
}

// Only what is installed: asking for another handler is the client's error, not the start's.
Result<std::map<std::string, container::RuntimeEntry>> MakeHandlers(const config::Config& config,
                                                                    bool systemd_cgroups) {
  std::map<std::string, container::RuntimeEntry> handlers;
  for (const auto& [name, options] : config.runtime.handlers) {
    RETURN_IF_ERROR(CheckAllowedAnnotations(name, options.allowed_annotations));
    if (options.path.empty()) continue;
    runtime::RuntimeHandler handler;
    handler.name = name;
    handler.path = options.path;
    handler.root = options.root;
    handler.arguments = options.arguments;
    if (systemd_cgroups) handler.cgroup_driver = runtime::CgroupDriver::kSystemd;
    runtime::RuntimeDriver driver(handler);
    Deadline deadline = Deadline::After(std::chrono::seconds(10));
    if (Status probed = driver.Probe(deadline); !probed.ok()) {
      LogWarning("runtime handler {}: {}", name, probed.message());
    }
    Result<runtime::RuntimeFeatures> features = driver.Features(deadline);
    container::HandlerSettings settings;
    settings.privileged_without_host_devices = options.privileged_without_host_devices;
    settings.allowed_annotations = options.allowed_annotations;
    settings.allowed_devices = options.allowed_devices;
    settings.monitor_path = options.monitor_path;
    settings.max_log_line_bytes = options.max_log_line_bytes;
    handlers.emplace(name, container::RuntimeEntry{std::move(driver), features.value_or(runtime::RuntimeFeatures()),
                                                   std::move(settings)});
  }
  return handlers;
}

image::PullerOptions MakePullerOptions(const config::ImageConfig& config, const std::string& helper) {
  image::PullerOptions options;
  options.helper_path = helper;
  options.limits.max_parallel_layers = static_cast<uint32_t>(config.max_parallel_layers);
  options.limits.connections_per_layer = static_cast<uint32_t>(config.connections_per_layer);
  options.limits.max_layer_bytes = static_cast<uint64_t>(config.max_layer_bytes);
  options.limits.max_image_bytes = static_cast<uint64_t>(config.max_image_bytes);
  options.limits.max_layer_entries = static_cast<uint64_t>(config.max_entries);
  options.limits.stall_timeout_seconds = static_cast<uint32_t>(config.stall_timeout_seconds);
  options.limits.min_bytes_per_second = static_cast<uint32_t>(config.min_bytes_per_second);
  options.hosts = HostsOf(config);
  return options;
}

Result<std::string> ReadBootId() {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile("/proc/sys/kernel/random/boot_id", 128));
  return std::string(Trim(text));
}

}  // namespace

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;

Engine::State::~State() {
  if (verification) verification->NoteCleanStop();
  // Sessions first: they call into everything. Then no new tasks, and the running ones to their end.
  stream_server.reset();
  health_checks.reset();
  if (sync_execs) sync_execs->Stop();
  std::unique_ptr<sched::Strands> ending;
  {
    std::lock_guard lock(strands_lock);
    ending = std::move(strands);
  }
  ending.reset();
  std::map<ContainerId, ExitWatch> last;
  {
    std::lock_guard lock(watches_lock);
    last.swap(watches);
  }
  if (loop) {
    for (auto& [id, watch] : last) loop->Remove(watch.token);
  }
}

void Engine::State::Post(const std::string& pod, std::function<void()> task) {
  std::lock_guard lock(strands_lock);
  if (strands) strands->Post(pod, std::move(task));
}

PodPtr Engine::State::Pod(const PodId& id) const {
  SnapshotPtr view = View();
  auto it = view->pods().find(id);
  return it == view->pods().end() ? nullptr : it->second;
}

ContainerPtr Engine::State::Container(const ContainerId& id) const {
  SnapshotPtr view = View();
  auto it = view->containers().find(id);
  return it == view->containers().end() ? nullptr : it->second;
}

container::PodEnvironment Engine::State::EnvironmentFor(const pod::PodRecord& pod) const {
  const pod::Paths& paths = sandboxes->paths();
  container::PodEnvironment environment;
  if (pod.spec.network != pod::NamespaceMode::kNode) {
    environment.network_namespace = paths.Namespace(pod.id, "net");
    environment.uts_namespace = paths.Namespace(pod.id, "uts");
  }
  if (pod.spec.ipc != pod::NamespaceMode::kNode) {
    environment.ipc_namespace = paths.Namespace(pod.id, "ipc");
    environment.shm_directory = paths.Shm(pod.id);
  } else {
    environment.shm_directory = "/dev/shm";
  }
  if (pod.spec.pid == pod::NamespaceMode::kPod) environment.pid_namespace = paths.Namespace(pod.id, "pid");
  if (pod.spec.has_user_namespace()) {
    environment.user_namespace = paths.Namespace(pod.id, "user");
    for (const auto& m : pod.spec.user->uids) environment.uid_mappings.push_back({m.host_id, m.container_id, m.length});
    for (const auto& m : pod.spec.user->gids) environment.gid_mappings.push_back({m.host_id, m.container_id, m.length});
  }
  environment.hostname = pod.hostname;
  environment.hosts_file = paths.Files(pod.id) + "/hosts";
  environment.hostname_file = paths.Files(pod.id) + "/hostname";
  environment.resolv_conf = paths.Files(pod.id) + "/resolv.conf";
  environment.cgroup = pod.cgroup;
  environment.log_directory = pod.spec.log_directory;
  environment.privileged = pod.spec.privileged;
  const pod::SelinuxOptions& selinux = pod.spec.selinux;
  environment.selinux = {selinux.user, selinux.role, selinux.type, pod.selinux_level};
  environment.annotations = pod.spec.annotations;
  return environment;
}

Result<std::unique_ptr<Engine>> Engine::Start(const config::Config& config, const Programs& programs) {
  auto state = std::make_unique<State>();
  State* raw = state.get();
  raw->config = config;
  ASSIGN_OR_RETURN(raw->boot_id, ReadBootId());
  raw->started_at = WallNanos();
  ASSIGN_OR_RETURN(raw->cgroups, sys::CgroupLayout::Detect());
  ASSIGN_OR_RETURN(raw->systemd_cgroups, UseSystemdCgroups(config.runtime.cgroup_driver, LookForSystemd()));
  ASSIGN_OR_RETURN(const sys::DescriptorLimit descriptors, sys::RaiseDescriptorLimit());
  // A container has up to nine, and its pod as many.
  raw->cgroup_stats = std::make_unique<sys::CgroupStatsReader>(raw->cgroups, descriptors.now / 8);
  // Orphans of monitors and inits are ours to reap: PID 1 of some machines takes seconds.
  RETURN_IF_ERROR(sys::BecomeSubreaper());
  RETURN_IF_ERROR(MakePrivateDirectory(config.root));
  RETURN_IF_ERROR(MakePrivateDirectory(config.state));

  ASSIGN_OR_RETURN(raw->state_lock, LockState(config.state));
  ASSIGN_OR_RETURN(store::OpenedDatabase opened, store::OpenDatabase(config.root, config.state));
  raw->database = std::move(opened.database);
  raw->loss = std::move(opened.loss);
  // A node that only fails at its first container looks like a bad image; a full disk is no reason not to start.
  if (Status probed = store::ProbeUpper(config.root); probed.code() == StatusCode::kFailedPrecondition) {
    return probed;
  } else if (!probed.ok()) {
    LogWarning("whether containers can write to {} is not known: {}", config.root, probed.message());
  }
  ASSIGN_OR_RETURN(raw->trash, store::Trash::Open(config.root));
  ASSIGN_OR_RETURN(raw->content, store::Content::Open(config.root));
  ASSIGN_OR_RETURN(raw->layers, store::DirectoryLayers::Open(config.root, *raw->database, *raw->trash));
  ASSIGN_OR_RETURN(raw->rootfs, store::Rootfs::Open(config.root, *raw->trash));
  raw->writable_usage = std::make_unique<WritableUsage>([raw](const ContainerId& id) {
    Result<store::WritableUsage> usage = raw->rootfs->Usage(id);
    // A piece of a large one; the others have their turn before the next.
    if (usage.ok() && usage->unfinished) raw->writable_usage->Want(id);
  });
  raw->disk = std::make_unique<DiskMeasure>(config.root, [raw] {
    std::vector<std::string> names;
    for (const store::Layer& layer : raw->layers->List()) names.emplace_back(layer.diff_id.hex());
    return names;
  });
  EventOptions events;
  events.queue = static_cast<size_t>(config.api.event_queue);
  events.show_standalone = config.api.show_standalone;
  raw->events = std::make_unique<EventLog>(events);
  ASSIGN_OR_RETURN(raw->records, Records::Load(*raw->database, *raw->events, raw->activity));
  raw->records->OnContainer(
      [raw](const ContainerPtr& before, const ContainerPtr& now) { raw->OnContainerChange(before, now); });
  // A file that is wrong must not keep the node's containers from being served; pulls say what is wrong with it.
  const std::string& default_registry = config.image.default_registry;
  Result<image::ShortNames> names = registries::LoadShortNames(config.image.registries_conf, default_registry);
  if (!names.ok()) LogWarning("names without a registry are of {}: {}", default_registry, names.status().message());
  raw->images = std::make_unique<image::Images>(
      *raw->database, *raw->content, *raw->layers,
      [raw](const std::string& diff_id) { return raw->UsesLayer(diff_id); },
      names.value_or(image::ShortNames(default_registry)));
  RETURN_IF_ERROR(raw->layers->Recover().status());
  RETURN_IF_ERROR(raw->images->Recover());
  ASSIGN_OR_RETURN(raw->layer_mounts,
                   store::LayerMounts::Open(config.state, *raw->layers,
                                            [raw](const std::string& diff_id) { return raw->UsesLayer(diff_id); }));
  raw->tree_program = programs.pull;
  // What commits of an earlier davitd have left.
  RETURN_IF_ERROR(raw->trash->Discard(config.root + "/commits"));
  ASSIGN_OR_RETURN(raw->volumes, store::Volumes::Open(config.root, *raw->trash, [raw](const std::string& name) {
                     return !raw->UsersOfVolume(name).empty();
                   }));
  raw->CollectMounts();
  raw->trust = std::make_unique<TrustGate>(raw->config.image, programs.pull, *raw->images, *raw->content);
  if (Status ready = raw->trust->Ready(); !ready.ok()) LogWarning("no image is taken: {}", ready.message());
  raw->puller = std::make_unique<image::Puller>(*raw->database, *raw->content, *raw->layers, *raw->images,
                                                MakePullerOptions(config.image, programs.pull));
  RETURN_IF_ERROR(raw->puller->Recover());
  raw->sif_puller = std::make_unique<image::SifPuller>(*raw->content, *raw->layers, *raw->images,
                                                       MakePullerOptions(config.image, programs.pull));
  raw->trash->Resume();
  ASSIGN_OR_RETURN(raw->preload,
                   Preload::Create(*raw->database, config.image.preload_dir,
                                   [raw](const std::string& path, uint32_t image, const image::PullCancel& cancel) {
                                     return raw->LoadPreloaded(path, image, cancel);
                                   }));
  raw->verification = std::make_unique<Verification>(*raw->database, *raw->content, *raw->layers, *raw->images);
  raw->verification->OnForgotten([raw](const std::string& image) { raw->preload->ImageLost(image); });
  // A full disk is no reason not to start.
  if (Status resumed = raw->verification->ResumeAfter(raw->boot_id); !resumed.ok()) {
    LogWarning("what was to be verified is not known: {}", resumed.message());
  }

  ASSIGN_OR_RETURN(raw->loop, sched::EventLoop::Start("davit-events"));
  network::CniOptions cni;
  cni.conf_dir = config.network.conf_dir;
  cni.bin_dirs = config.network.bin_dirs;
  cni.builtin = config.network.builtin;
  cni.executor = [raw](std::function<void()> task) { raw->pool.Post(std::move(task)); };
  ASSIGN_OR_RETURN(raw->network, network::CniNetwork::Create(cni, raw->loop.get()));
  ASSIGN_OR_RETURN(raw->named_networks,
                   network::NamedNetworks::Open({config.root + "/networks", config.state + "/networks"}));
  raw->pod_network = std::make_unique<network::PodNetwork>(
      network::PodNetworkOptions{.bin_dirs = config.network.bin_dirs, .builtin = config.network.builtin}, *raw->network,
      *raw->named_networks);

  raw->name_server = std::make_unique<network::NameServer>(raw->LookupOfNames());

  container::ContainersOptions containers;
  raw->idmap = ProbeIdmap(config.root + "/layers");
  if (!raw->idmap.ok()) LogInfo("no user namespaces for pods: {}", raw->idmap.message());
  containers.paths = {config.state};
  containers.monitor_path = programs.monitor;
  containers.descriptor_limit = descriptors.before;
  containers.add_user_entry = config.runtime.add_user_entry;
  containers.max_log_line_bytes = config.runtime.max_log_line_bytes;
  containers.standalone_log_bytes = config.runtime.standalone_log_bytes;
  containers.standalone_log_files = config.runtime.standalone_log_files;
  ASSIGN_OR_RETURN(containers.handlers, MakeHandlers(config, raw->systemd_cgroups));
  if (containers.handlers.count(config.runtime.default_handler) == 0) {
    return FailedPrecondition("runtime handler \"" + config.runtime.default_handler +
                              "\" is the default, but its program is not installed");
  }
  ASSIGN_OR_RETURN(containers.node, ReadNodeLimits(config, raw->cgroups));
  raw->containers = std::make_unique<container::Containers>(std::move(containers), *raw->rootfs, raw->cgroups);
  pod::SandboxesOptions sandboxes;
  sandboxes.paths = {config.state};
  sandboxes.init_path = programs.init;
  sandboxes.systemd_cgroups = raw->systemd_cgroups;
  sandboxes.inspect_cgroups = !config.api.crio_socket.empty();
  sandboxes.cgroup_abilities = raw->containers->options().node.cgroups;
  sandboxes.network_timeout = std::chrono::seconds(config.network.plugin_timeout_seconds);
  raw->sandboxes = std::make_unique<pod::Sandboxes>(std::move(sandboxes), *raw->pod_network, raw->cgroups);
  raw->strands = std::make_unique<sched::Strands>(raw->pool);
  // Two pipes, the session and a spare each: a quarter of all descriptors.
  const size_t execs = std::clamp<size_t>(descriptors.now / 4 / 4, 8, 2048);
  ASSIGN_OR_RETURN(raw->sync_execs, SyncExecs::Start(raw->exec_pool, execs));
  raw->MakeHealthChecks();
  RETURN_IF_ERROR(raw->Recover());
  raw->events->EndRecovery();

  raw->stream_backend = std::make_unique<StreamBackend>(*raw->records, *raw->containers, pod::Paths{config.state});
  stream::ServerOptions stream;
  stream.address = config.stream.address;
  stream.port = static_cast<int>(config.stream.port);
  stream.idle_timeout = std::chrono::seconds(config.stream.idle_timeout_seconds);
  // A session has its connection, up to three pipes and its watch: half of all descriptors at most.
  constexpr uint64_t kOfSession = 5;
  const size_t affordable = static_cast<size_t>(std::max<uint64_t>(8, descriptors.now / 2 / kOfSession));
  stream.max_sessions = std::min(static_cast<size_t>(config.stream.max_sessions), affordable);
  stream.max_waiting = std::min(stream.max_waiting, std::max<size_t>(4, stream.max_sessions / 4));
  ASSIGN_OR_RETURN(raw->stream_server, stream::Server::Start(stream, *raw->stream_backend));
  raw->preload->Start();
  return std::unique_ptr<Engine>(new Engine(std::move(state)));
}

SnapshotPtr Engine::View() const { return state_->View(); }

network::Readiness Engine::NetworkReadiness() const { return state_->network->Ready(); }
std::string Engine::NetworkStatusJson() const { return state_->network->StatusJson(); }
Status Engine::StorageReadiness() const {
  for (const std::string& directory : {state_->config.root, state_->config.state}) {
    struct statvfs info {};
    if (::statvfs(directory.c_str(), &info) != 0) return ErrnoError(errno, "look at " + directory);
    if ((info.f_flag & ST_RDONLY) != 0) {
      return FailedPrecondition(directory +
                                " is read-only: see the kernel's log for errors of its disk, and mount it read-write");
    }
  }
  return {};
}

std::string Engine::Losses() const {
  constexpr size_t kNamed = 10;
  std::string text = state_->loss;
  const std::vector<Records::Unreadable>& rows = state_->records->unreadable();
  for (size_t i = 0; i < std::min(rows.size(), kNamed); ++i) {
    text += (text.empty() ? "" : "; ");
    text += "the record of " + std::string(store::KindName(rows[i].kind)) + " " + Printable(rows[i].id, 80) +
            " cannot be read: " + Printable(rows[i].why, 200);
  }
  if (rows.size() > kNamed) text += "; and " + std::to_string(rows.size() - kNamed) + " more";
  return text;
}
std::string Engine::PreloadSummary() const { return state_->preload->Summary(); }
EventLog& Engine::Events() { return *state_->events; }
ActivityLog& Engine::Activities() { return state_->activity; }
const config::Config& Engine::Configuration() const { return state_->config; }
bool Engine::SystemdCgroups() const { return state_->systemd_cgroups; }

std::vector<HandlerInfo> Engine::Handlers() const {
  std::vector<HandlerInfo> handlers;
  for (const auto& [name, entry] : state_->containers->options().handlers) {
    handlers.push_back({name, entry.features});
    handlers.back().features.user_namespaces = state_->CheckUserNamespaces(name).ok();
  }
  return handlers;
}

Result<std::string> Engine::RuntimeSpecJson(const container::ContainerRecord& record) const {
  return sys::ReadFile(state_->containers->paths().Bundle(record.id) + "/config.json", size_t{16} << 20);
}

}  // namespace davit::engine
