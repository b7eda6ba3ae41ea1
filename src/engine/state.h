// The engine's parts and the functions that its source files share. Private to engine/.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "container/containers.h"
#include "engine/counters.h"
#include "engine/cpu_rates.h"
#include "engine/disk_report.h"
#include "engine/engine.h"
#include "engine/events.h"
#include "engine/exits.h"
#include "engine/name_index.h"
#include "engine/pod_interfaces.h"
#include "engine/preload.h"
#include "engine/pull_slots.h"
#include "engine/pull_waiters.h"
#include "engine/records.h"
#include "engine/stats.h"
#include "engine/stops.h"
#include "engine/stream_backend.h"
#include "engine/sync_execs.h"
#include "engine/trust_gate.h"
#include "engine/verification.h"
#include "engine/writable_usage.h"
#include "image/sif_puller.h"
#include "network/cni_network.h"
#include "network/name_server.h"
#include "network/named_networks.h"
#include "network/pod_network.h"
#include "pod/sandboxes.h"
#include "sched/event_loop.h"
#include "sched/operations.h"
#include "sched/strand.h"
#include "sched/thread_pool.h"
#include "store/content.h"
#include "store/layer_mounts.h"
#include "store/layers.h"
#include "store/open_database.h"
#include "store/rootfs.h"
#include "store/trash.h"
#include "store/volumes.h"
#include "stream/server.h"
#include "sys/process.h"

namespace davit::engine {

// How long the steps of one verb may take together. A verb that a stuck plugin or runtime holds longer
// fails with kDeadlineExceeded and is undone.
inline constexpr std::chrono::seconds kVerbBudget{240};
inline constexpr std::chrono::seconds kKillBudget{30};
inline constexpr size_t kMaxOpenInterfaces = 512;  // descriptors

// The PID namespace of another container, held open while the runtime joins it.
struct Target {
  sys::UniqueFd pid_namespace;
  std::string path;  // empty: none is wanted
};

struct ImageVolumes {
  std::map<size_t, std::vector<std::string>> layers;  // container::CreateInputs::image_volumes
  std::vector<image::LayerHold> holds;
  store::MountLease mounts;
};

// Whether the mount of a directory can be id-mapped here: kernel, filesystem, and rights of davitd.
Status ProbeIdmap(const std::string& directory);

inline Result<Nothing> ToResult(const Status& status) {
  if (status.ok()) return Nothing{};
  return status;
}

struct Engine::State {
  config::Config config;
  std::string boot_id;
  sys::CgroupLayout cgroups;
  bool systemd_cgroups = false;  // the cgroup driver
  int64_t started_at = 0;        // wall nanoseconds
  Counters counters;
  Status idmap;  // why layers cannot be id-mapped here; OK when they can

  // Destroyed last to first: the loop and the pools stop before what their tasks use.
  sys::UniqueFd state_lock;
  std::unique_ptr<store::Database> database;
  std::string loss;  // of the database, found at the start
  std::unique_ptr<store::Trash> trash;
  std::unique_ptr<store::Content> content;
  std::unique_ptr<store::DirectoryLayers> layers;
  std::unique_ptr<store::LayerMounts> layer_mounts;
  std::string tree_program;  // davit-pull
  std::unique_ptr<store::Rootfs> rootfs;
  std::unique_ptr<store::Volumes> volumes;
  std::unique_ptr<EventLog> events;
  ActivityLog activity;
  std::unique_ptr<Records> records;
  std::unique_ptr<image::Images> images;
  std::unique_ptr<TrustGate> trust;
  std::unique_ptr<image::Puller> puller;
  std::unique_ptr<image::SifPuller> sif_puller;
  std::unique_ptr<sched::EventLoop> loop;
  std::unique_ptr<network::CniNetwork> network;  // the node's own
  std::unique_ptr<network::NamedNetworks> named_networks;
  std::unique_ptr<network::PodNetwork> pod_network;  // of both
  std::mutex names_lock;  // guards the next three; held for memory only, but for the node's resolv.conf
  std::shared_ptr<const NameIndex> name_index;
  std::vector<std::string> node_servers;
  std::chrono::steady_clock::time_point node_servers_read;
  std::unique_ptr<network::NameServer> name_server;  // asks records: ends before them
  std::unique_ptr<container::Containers> containers;
  std::unique_ptr<pod::Sandboxes> sandboxes;

  Exits exits;
  Stops stops;
  Waits waits;
  struct ExitWatch {
    sys::UniqueFd fd;
    sched::EventLoop::Token token = 0;
  };
  std::mutex watches_lock;
  std::map<ContainerId, ExitWatch> watches;
  struct InitWatch {
    sys::PidFd process;
    sched::EventLoop::Token token = 0;
  };
  std::map<PodId, InitWatch> init_watches;  // under watches_lock too

  // SELinux levels of pods whose records are being written: two pods must not pick the same.
  std::mutex levels_lock;
  std::set<std::string> levels_picked;

  sched::Operations<PodId> run_pods;
  sched::Operations<ContainerId> create_containers;
  sched::Operations<Nothing> verbs;  // stop, remove, start: keyed by verb and id
  sched::Operations<image::ImageRecord> pulls;
  struct PullListeners {
    std::mutex mutex;
    std::map<std::string, std::vector<Engine::PullProgress>> by_key;
  } pull_listeners;

  std::unique_ptr<sys::CgroupStatsReader> cgroup_stats;
  CpuRates cpu_rates;
  PodInterfaces pod_interfaces{kMaxOpenInterfaces};
  std::unique_ptr<HealthChecks> health_checks;
  std::unique_ptr<WritableUsage> writable_usage;
  std::unique_ptr<DiskMeasure> disk;
  std::unique_ptr<Preload> preload;
  std::unique_ptr<Verification> verification;  // tells preload what it finds: ends before it
  // Its own: statistics must not wait behind execs.
  sched::ThreadPool stats_pool{"davit-stats", 2};

  // A stuck verb (a runtime that hangs, a plugin that waits for a dead server) holds its thread until its
  // deadline; others go on, on overflow threads.
  sched::ThreadPool pool{"davit-verb", 16, std::chrono::seconds(10), {.threads = 240}};
  std::unique_ptr<SyncExecs> sync_execs;  // before the pool that it uses: destroyed after it
  sched::ThreadPool exec_pool{"davit-exec", 32, std::chrono::seconds(10), {.threads = 224}};
  // Pulls of one registry take a part of the threads only; nobody's client, and it ends after two minutes.
  PullWaiters pull_waiters{std::chrono::minutes(2)};
  PullSlots pull_slots{pull_pool, 6};  // before the pool, which it uses: destroyed after it
  sched::ThreadPool pull_pool{"davit-pull", 16};
  sched::ThreadPool image_pool{"davit-image", 2};
  sched::ThreadPool save_pool{"davit-save", 2};     // each waits for a client that reads
  sched::ThreadPool files_pool{"davit-files", 16};  // these too, or for one that writes
  std::mutex strands_lock;                          // guards the pointer: timers may fire while the engine ends
  std::unique_ptr<sched::Strands> strands;

  std::unique_ptr<StreamBackend> stream_backend;
  std::unique_ptr<stream::Server> stream_server;

  ~State();

  // A task on the pod's strand; dropped once the engine ends (recovery takes over from the records).
  void Post(const std::string& pod, std::function<void()> task);

  // ---- The shape of the verbs about something that is there: find it, join, run on its pod's strand ----
  using Finish = std::function<void(Result<Nothing>)>;
  enum class Unknown { kIsError, kIsDone };  // clients repeat a stop or removal until it succeeds
  void PodVerb(const std::string& text, const std::string& verb, Status (State::*now)(const PodId&),
               Done<Nothing> done);
  void ContainerVerb(const std::string& text, const std::string& verb, Unknown unknown,
                     std::function<void(const ContainerId&, const Finish&)> now, Done<Nothing> done);

  // ---- Shared steps; those with a record run on the pod's strand ----
  // The check and the record of intent, on a strand of the pod's identity: two requests under one identity
  // cannot both find it free.
  Result<pod::PodRecord> IntendPod(const PodId& id, const pod::PodSpec& spec);
  Result<PodId> MakePod(const pod::PodRecord& intent);
  // What the record of intent says of SELinux and of annotations.
  Status PlanModules(pod::PodRecord& record);
  Status PlanSelinuxLevel(pod::PodRecord& record);
  // Takes back what MakePod, or MakeContainer, made: the record goes too, but for a standalone one, which is as before.
  Status UndoPod(pod::PodRecord record);
  Status UndoContainer(container::ContainerRecord record);
  Status StopPodNow(const PodId& id);
  Status RemovePodNow(const PodId& id);
  // What is on the node of containers of this pod that no record names: their rows were lost.
  Status RemoveStrays(const pod::PodRecord& pod);
  void RetryDetachLater(const PodId& id);

  // ---- Networks (networks.cc) ----
  // `again`: pods on it that run nothing are let finish first.
  void RemoveNetworkNow(const std::string& text, bool again, const Finish& finish);
  // For the activity log; of a pod: of each of its containers.
  void TellOfNetwork(const std::string& action, const network::NamedNetwork& about, const PodId& pod);
  // `now` on the strand of the pod of `container`; joined.
  void NetworkVerb(const std::string& verb, const std::string& wanted, const std::string& container, Done<Nothing> done,
                   std::function<Status(const PodId&, const std::string& network)> now);
  [[nodiscard]] Result<PodId> PodNamed(const std::string& text) const;
  // Every network of the spec is there, and by its name from now on. kNotFound naming one. For a pod that is defined.
  Status SettleNetworks(pod::PodSpec& spec) const;
  void NoteHosts(const pod::PodRecord& record, const std::vector<std::string>& ips_before);
  Status ConnectNow(const PodId& id, const pod::NetworkEndpoint& endpoint);
  Status DisconnectNow(const PodId& id, const std::string& network, bool force);
  // Of a pod that is up after a restart: its host ports and its resolver; takes back what was half connected.
  Status ResumeNetwork(const pod::PodRecord& pod);
  // Answers the pod's questions for names, if its record says so. Nothing for one that is open. `fresh`: its namespace
  // was not prepared for it before.
  Status OpenNames(const pod::PodRecord& pod, bool fresh);
  [[nodiscard]] network::NameLookup LookupOfNames();
  std::shared_ptr<const NameIndex> Names();  // of now
  std::vector<std::string> ServersFor(const PodId& id);

  Result<ContainerId> CreateContainerNow(const ContainerId& id, const PodId& pod, const container::ContainerSpec& spec);
  Result<container::ContainerRecord> MakeContainer(container::ContainerRecord record, const pod::PodRecord& pod,
                                                   const Target& target);
  // The container of the pod that `options` names as the owner of the PID namespace to join.
  Result<Target> FindTarget(const PodId& pod, const container::NamespaceOptions& options) const;
  // Fills record.image_volumes; returns the layers' directories and what keeps them until the record does.
  Result<ImageVolumes> FindImageVolumes(container::ContainerRecord& record, const pod::PodRecord& pod);
  // Gives the mounts of named volumes their host paths. kNotFound naming a volume.
  Result<std::vector<store::VolumeHold>> FindVolumes(container::ContainerRecord& record);
  // The volumes of a standalone container: those that it names, and anonymous ones for what has no name and for the
  // paths that the image declares and nothing else is mounted at. Filled into spec.standalone and spec.mounts, and
  // held until a record names them. `made`: those that are not there, to be made after that record.
  struct DefinedVolumes {
    std::vector<store::VolumeHold> holds;
    std::vector<std::string> made;
  };
  Result<DefinedVolumes> DefineVolumes(const oci::ImageConfig& image, container::ContainerSpec& spec);
  // Removes those in `made`; what fails is logged.
  void RemoveVolumes(DefinedVolumes volumes);
  // After a standalone container is gone: the anonymous ones of its volumes.
  void RemoveAnonymousVolumes(const container::ContainerRecord& record);
  // A container's root for a helper (tree_helper.h): of a running one as its processes see it.
  struct Tree {
    ContainerPtr record;
    sys::UniqueFd root;  // or the job says where it is
    image::TreeJob job;
  };
  Result<Tree> OpenTree(const std::string& container, const std::string& verb, const std::string& path);
  // On the strand: mounts the root of a container that does not run, where it is not.
  Status MountForFiles(const container::ContainerRecord& record);
  // Without a leading "/".
  [[nodiscard]] std::vector<std::string> MountPointsOf(const container::ContainerRecord& record) const;
  Result<std::string> CommitNow(const CommitRequest& request);
  void ThawAfterCommit(const container::ContainerRecord& record);
  [[nodiscard]] std::vector<std::string> UsersOfImage(const std::string& id) const;
  Status RemoveUnusedImage(const std::string& text);
  Result<RemovedImage> RemoveStoredImageNow(const std::string& text, bool force);
  // Ids of the containers whose records name a volume.
  [[nodiscard]] std::vector<std::string> UsersOfVolume(const std::string& name) const;
  // Topmost first; what is a file is mounted, for as long as a record names it or the lease lives.
  Result<std::vector<std::string>> LayerPaths(const std::vector<std::string>& diff_ids, store::MountLease& lease);
  // Makes the image of an artifact that is a SIF file, if it is one and they are wanted; else returns it as it is.
  Result<image::ImageRecord> AdoptSif(const image::PullRequest& request, image::ImageRecord pulled, Deadline deadline);
  // An archive of images, or a SIF file. Blocks.
  Result<image::Puller::Loaded> LoadArchive(const image::PullRequest& request, Deadline deadline);
  // Whether a container's record names a layer.
  [[nodiscard]] bool UsesLayer(const std::string& diff_id) const;
  // After a container is gone.
  void CollectMounts();
  // Why pods with this handler cannot have user namespaces; OK when they can.
  [[nodiscard]] Status CheckUserNamespaces(const std::string& handler) const;
  Status StartContainerNow(const ContainerId& id);
  Status RemoveContainerNow(const ContainerId& id);
  // `signal` 0: its own stop signal.
  void BeginStop(const ContainerId& id, std::chrono::seconds grace, int signal, const Finish& finish);
  // Sets SIGKILL for the earliest time that a request has asked for.
  void ArmKill(const ContainerId& id);
  void KillNow(const ContainerId& id);
  void EndStop(const ContainerId& id);
  // Ends it by force and records the exit; returns when it is gone.
  Status Settle(const ContainerId& id);

  // ---- Standalone: on the pod's strand (standalone_pods.cc, standalone_containers.cc) ----
  // `verb` on the strand of the pod, for a standalone one; joined.
  void NamedPodVerb(const std::string& text, const std::string& verb,
                    std::function<void(const PodId&, const Finish&)> now, Done<Nothing> done);
  void NamedContainerVerb(const std::string& text, const std::string& verb,
                          std::function<void(const ContainerId&, const Finish&)> now, Done<Nothing> done);
  Result<PodId> DefinePodNow(const pod::PodSpec& spec);
  Result<DefinedContainer> DefineContainerNow(ContainerDefinition definition);
  Result<DefinedContainer> RecordDefinition(ContainerDefinition& definition, const image::ImageRecord& image);
  Result<bool> StartPodNow(const PodId& id);
  Status PrepareNow(const ContainerId& id);
  Result<bool> StartStandaloneNow(const ContainerId& id);
  Status PauseNow(const ContainerId& id, bool pause);
  Status RemoveStandaloneNow(const ContainerId& id, bool force, bool volumes_too);
  // After a run has ended: starts it again, or gives up what it held of the node.
  void AfterRun(const ContainerId& id);
  void PlanRestart(const container::ContainerRecord& record);
  void RestartNow(const ContainerId& id);
  void NoteFailedStart(container::ContainerRecord record, const Status& why);
  // One that was prepared, and nobody started.
  void TakeDownUnstarted(const ContainerId& id);
  // What recovery adds for standalone ones: restarts after a boot, removals that are owed.
  void ResumeStandalone(const ContainerId& id, const std::string& boot_before);
  // Probes of health checks, and what an unhealthy container is to be met with.
  void MakeHealthChecks();
  void OnHealth(const ContainerId& id, const std::string& status);
  void OnContainerChange(const ContainerPtr& before, const ContainerPtr& now);

  // Limits: the record of intent, the cgroup, the record; a failure leaves both as they were.
  Status UpdateContainerNow(const ContainerId& id, const sys::Resources& change);
  Status UpdatePodNow(const PodId& id, const PodResourcesChange& change);
  // Finishes what an earlier davitd has begun, or takes it back.
  Status SettleUpdate(const ContainerId& id);
  Status SettleUpdate(const PodId& id);

  // From the monitor's news to the record. `state` empty: the monitor is gone, its exit file decides.
  class AbandonTimer;
  struct Pull {
    image::Credentials credentials;
    std::string pod_namespace;
    Engine::PullProgress progress;
    PullWanted wanted;
    std::vector<image::PullAttempt> tried;  // by the names before
  };
  // `said`: by the names before `next`.
  void PullFirst(std::vector<image::Reference> names, size_t next, Status said, const Pull& pull,
                 Done<image::ImageRecord> done);
  void PullOne(const image::Reference& reference, const Pull& pull, Done<image::ImageRecord> done);
  Result<image::ImageRecord> PresentByDigest(const image::Reference& reference);
  // Blocks.
  Status PinLoaded(image::Puller::Loaded& loaded);  // where image.pinned says so
  Result<image::Puller::Loaded> LoadPreloaded(const std::string& path, uint32_t image, const image::PullCancel& cancel);
  // An archive, on a thread of the pulls. `key`: what clients wait for (PullWaiters).
  void LoadNow(const std::string& key, image::PullRequest request, PullWanted wanted, Done<image::Puller::Loaded> done);
  Result<image::ImageRecord> PullNow(image::PullRequest& request, const image::Credentials& credentials,
                                     const std::string& pod_namespace, Deadline deadline);
  Status WatchExit(const container::ContainerRecord& record);
  // The record as it is seen, when there is room for it again.
  void WriteLater(const PodId& pod, const ContainerId& id);
  void Unwatch(const ContainerId& id);
  // Stops the pod when the init of its PID namespace ends; for a pod without one nothing.
  Status WatchInit(const pod::PodRecord& record);
  void UnwatchInit(const PodId& id);
  void OnInitEnded(const PodId& id);  // on the pod's strand; again until the pod is stopped
  void OnExit(const ContainerId& id, const std::optional<monitor::State>& state);

  Result<std::string> MintExec(const Result<ContainerPtr>& found, stream::ExecRequest request);
  Result<RunningExec> BeginExecSync(const container::ContainerRecord& record, const std::vector<std::string>& command,
                                    Deadline deadline);

  Status Recover();
  void RecoverContainer(const container::ContainerRecord& record);
  void RecoverPod(const pod::PodRecord& record);

  // ---- Statistics: on stats_pool ----
  struct PodQuestion {
    PodPtr pod;
    std::vector<ContainerPtr> running;
    bool shared_cgroup = false;  // with other pods
  };
  std::vector<PodQuestion> QuestionsAbout(const std::vector<PodPtr>& pods);
  ContainerStats StatsOf(const ContainerPtr& record);
  PodStats StatsOf(const PodPtr& record, const std::vector<ContainerPtr>& running, bool shared_cgroup);
  ContainerNumbers NumbersOf(const ContainerPtr& record);
  PodNumbers NumbersOf(const PodQuestion& question);
  std::optional<NetworkUse> NetworkOf(const pod::PodRecord& record);
  // The last measurement; asks for a new one when it is old.
  std::optional<WritableLayer> WritableOf(const ContainerId& id);

  [[nodiscard]] container::PodEnvironment EnvironmentFor(const pod::PodRecord& pod) const;
  [[nodiscard]] SnapshotPtr View() const { return records->View(); }
  [[nodiscard]] PodPtr Pod(const PodId& id) const;
  [[nodiscard]] ContainerPtr Container(const ContainerId& id) const;
};

}  // namespace davit::engine
