// Engine: the use cases. The only composer of the domains below it; cri/ and other front ends call it
// and nothing else.
//
// Verbs that change something take a callback, called once, on any thread, with the outcome. A verb with
// the same identity as one that is running joins it. Verbs about one pod run in order on its strand,
// different pods in parallel; a client that goes away stops nothing. Reads (View, Images, Stats) answer
// from snapshots at once.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"
#include "config/config.h"
#include "container/spec.h"
#include "engine/activity.h"
#include "engine/container_changes.h"
#include "engine/disk_report.h"
#include "engine/events.h"
#include "engine/health_checks.h"
#include "engine/networks.h"
#include "engine/snapshot.h"
#include "engine/standalone.h"
#include "engine/stats.h"
#include "engine/verification.h"
#include "image/image_export.h"
#include "image/images.h"
#include "image/puller.h"
#include "image/tree_messages.h"
#include "network/network.h"
#include "oci/image_spec.h"
#include "pod/spec.h"
#include "runtime/runtime_driver.h"
#include "store/filesystem.h"
#include "store/volumes.h"
#include "stream/backend.h"

namespace davit::engine {

// The helper programs, absolute paths.
struct Programs {
  std::string monitor;
  std::string init;
  std::string pull;
};

struct Nothing {};  // the value of a verb that only succeeds

template <class T>
using Done = std::function<void(const Result<T>&)>;

struct ExecOutput {
  std::string out;  // both together at most kMaxExecOutput bytes: the rest was read and dropped
  std::string err;
  int exit_code = 0;
};
// Clients take messages of 16 MiB: what surrounds the bytes has to fit in too.
inline constexpr size_t kMaxExecOutput = (size_t{16} << 20) - (size_t{4} << 10);

// What is not there stays as it is, and so do zero and empty fields.
struct PodResourcesChange {
  std::optional<sys::Resources> resources;
  std::optional<sys::Resources> overhead;
};

struct HandlerInfo {
  std::string name;
  runtime::RuntimeFeatures features;
};

class Engine {
 public:
  // Opens the store, recovers what an earlier davitd has left, starts to watch. What cannot be taken away
  // at once (a CNI plugin that fails) is tried again later and does not hinder the start.
  // kFailedPrecondition: another davitd uses the root, or the configuration contradicts the machine.
  static Result<std::unique_ptr<Engine>> Start(const config::Config& config, const Programs& programs);
  ~Engine();  // waits for running verbs; containers go on running
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // ---- Pods ----
  // kAlreadyExists when a pod with this uid and attempt is there already.
  void RunPod(pod::PodSpec spec, Done<PodId> done);
  // Both are OK for an unknown id.
  void StopPod(const std::string& id, Done<Nothing> done);
  void RemovePod(const std::string& id, Done<Nothing> done);

  // Applied where Davit owns the pod's cgroup, kept and shown only where cgroup_parent was given
  // (pod/resources.h). kFailedPrecondition when the pod is not ready.
  void UpdatePod(const std::string& id, PodResourcesChange change, Done<Nothing> done);

  // ---- Containers ----
  // kAlreadyExists when the pod has a container with this name and attempt already; kNotFound for the
  // pod or the image.
  void CreateContainer(const std::string& pod, container::ContainerSpec spec, Done<ContainerId> done);
  void StartContainer(const std::string& id, Done<Nothing> done);
  // Stop signal, then SIGKILL after `grace`; while it runs, a request with a shorter grace shortens it. OK for
  // an unknown id.
  void StopContainer(const std::string& id, std::chrono::seconds grace, Done<Nothing> done);
  void RemoveContainer(const std::string& id, Done<Nothing> done);  // OK for an unknown id
  void ReopenLog(const std::string& id, Done<Nothing> done);
  // Limits take effect all together or not at all. Zero and empty fields stay as they are, and so does
  // oom_score_adj (container/resources.h). kInvalidArgument naming the field; kFailedPrecondition when it is
  // neither created nor running, or when the memory is in use.
  void UpdateContainer(const std::string& id, sys::Resources change, Done<Nothing> done);
  // timeout 0: none. kDeadlineExceeded: the process is gone when `done` is called.
  void ExecSync(const std::string& id, std::vector<std::string> command, std::chrono::seconds timeout,
                Done<ExecOutput> done);

  // ---- Standalone pods and containers (engine/standalone.h; proto davit.control.v1.StandaloneService) ----
  // `text`: an id, a name, or a beginning of an id (Snapshot::FindNamed…). kPermissionDenied for the kubelet's.
  // A record alone. kAlreadyExists: the name is taken.
  void DefinePod(pod::PodSpec spec, Done<PodId> done);
  // Namespaces and network. False: it was ready.
  void StartPod(const std::string& text, Done<bool> done);
  // Its containers first, each with `grace`, or its own; it can be started again. False: it was not ready.
  void StopStandalonePod(const std::string& text, std::optional<std::chrono::seconds> grace, Done<bool> done);
  // With its containers, whose ids it returns. kFailedPrecondition when one runs, unless `force`.
  void RemoveStandalonePod(const std::string& text, bool force, Done<std::vector<std::string>> done);

  void DefineContainer(ContainerDefinition definition, Done<DefinedContainer> done);
  // Up to its first process, which waits. A prepared one that nobody starts within a minute is taken down again.
  void PrepareContainer(const std::string& text, Done<Nothing> done);
  // Also one that has ended. False: it runs already. kFailedPrecondition: its program cannot be run, with the runtime's
  // words.
  void StartStandalone(const std::string& text, Done<bool> done);
  // `signal` 0 and no `grace`: its own. Its restart policy rests until the next start. False: it did not run.
  void StopStandalone(const std::string& text, std::optional<std::chrono::seconds> grace, int signal, Done<bool> done);
  void KillContainer(const std::string& text, int signal, Done<Nothing> done);
  void PauseContainer(const std::string& text, bool pause, Done<Nothing> done);
  void RenameContainer(const std::string& text, const std::string& name, Done<Nothing> done);
  void UpdateStandalone(const std::string& text, std::optional<sys::Resources> resources,
                        std::optional<container::RestartPolicy> restart, Done<Nothing> done);
  // kFailedPrecondition when it runs, unless `force`. A pod that was made for it goes with it; `volumes`: its anonymous
  // volumes, too.
  void RemoveStandalone(const std::string& text, bool force, bool volumes, Done<Nothing> done);
  // `waiter` is called once, unless the token is cancelled before. kNotFound.
  Result<Waits::Token> WaitContainer(const std::string& text, WaitCondition condition, Waits::Waiter waiter);
  void CancelWait(Waits::Token token);
  Result<std::vector<int64_t>> Processes(const std::string& text);  // as the node numbers them; reads files
  [[nodiscard]] ActivityLog& Activities();
  [[nodiscard]] Health HealthOf(const ContainerId& id) const;
  void CheckHealth(const std::string& text, Done<Health> done);              // a probe now
  [[nodiscard]] std::string WritableDirectory(const ContainerId& id) const;  // what it wrote, in overlayfs' form
  // The URL of an exec; `request.container` is filled in.
  Result<std::string> ExecAs(const std::string& text, stream::ExecRequest request);

  // ---- Networks of standalone pods (network/named_networks.h) ----
  void CreateNetwork(network::NamedNetwork wanted, Done<NetworkView> done);
  // By names or ids, all when there are none; from memory, at once. kNotFound naming one.
  [[nodiscard]] Result<std::vector<NetworkView>> Networks(const std::vector<std::string>& names) const;
  // kFailedPrecondition naming the pods on it, or for the default network.
  void RemoveNetwork(const std::string& network, Done<Nothing> done);
  // Of the pod of `container`, now when it is up and else from its next start. kAlreadyExists when it is on it;
  // kFailedPrecondition for a pod of the kubelet's.
  void ConnectNetwork(const std::string& container, pod::NetworkEndpoint endpoint, Done<Nothing> done);
  // `force`: a plugin that fails is no error; the rest is taken away when the pod stops.
  void DisconnectNetwork(const std::string& network, const std::string& container, bool force, Done<Nothing> done);

  // ---- Streaming: URLs with single-use tickets ----
  Result<std::string> Exec(const std::string& container, std::vector<std::string> command, bool terminal,
                           bool want_stdin, bool want_stdout, bool want_stderr);
  Result<std::string> Attach(const std::string& container, bool terminal, bool want_stdin, bool want_stdout,
                             bool want_stderr);
  Result<std::string> PortForward(const std::string& pod, std::vector<int> ports);

  // ---- Images ----
  using PullProgress = std::function<void(const image::PullProgress&)>;
  // Whether the client is still there (PullWaiters); may be empty.
  using PullWanted = std::function<bool()>;
  // `pod_namespace`: whose signature policy counts; empty: the node's. kPermissionDenied "SignatureValidationFailed: …"
  // when it takes no such image.
  void PullImage(const std::string& reference, const image::Credentials& credentials, const std::string& pod_namespace,
                 PullProgress progress, PullWanted wanted, Done<image::ImageRecord> done);
  // Why the node's signature policy cannot be read, so that no image is taken; OK otherwise. Reads files.
  [[nodiscard]] Status TrustReadiness() const;
  // One image of an archive on the node, by its number (image/archive.h). `archive` is an absolute path. Signature
  // policies are asked when a container is made of it, by its name.
  void LoadImage(const std::string& archive, uint32_t number, PullProgress progress, PullWanted wanted,
                 Done<image::Puller::Loaded> done);
  // A root filesystem, a tar on the node packed or not, becomes an image of one layer. `archive` is an absolute path.
  // kInvalidArgument naming a change, the reference or the platform.
  struct ImportSettings {
    std::string archive;
    std::string reference;             // empty: no name
    std::vector<std::string> changes;  // oci/import_config.h
    std::string message;               // of its history
    std::string platform;              // "OS/ARCHITECTURE[/VARIANT]"; empty: this node's
  };
  void ImportImage(const ImportSettings& settings, PullProgress progress, PullWanted wanted,
                   Done<image::Puller::Loaded> done);
  // Writes images (references or ids) into `sink`, on a thread of idle priority; the images stay while it runs.
  // `wanted` as for pulls, and asked often. ExportImages() has the errors; kNotFound for a name.
  void SaveImages(const std::vector<std::string>& names, bool docker, bool gzip,
                  std::shared_ptr<image::ExportSink> sink, PullWanted wanted, Done<Nothing> done);
  void RemoveImage(const std::string& text, Done<Nothing> done);
  [[nodiscard]] image::Images& Images();
  Result<store::FilesystemUsage> ImageFilesystem();
  // What the containers wrote, as far as it has been measured: in the same filesystem.
  [[nodiscard]] store::DiskUsage WritableLayers() const;

  // ---- Volumes (store/volumes.h) ----
  struct Volume {
    store::VolumeRecord record;
    std::string mountpoint;
    std::vector<std::string> containers;  // ids that use it
    std::optional<uint64_t> bytes;        // where they were asked for
  };
  struct CreatedVolume {
    Volume volume;
    bool created = false;  // false: an equal one was there
  };
  // store::Volumes::Create has the errors.
  void CreateVolume(store::VolumeRecord request, Done<CreatedVolume> done);
  // From memory; all when no name is given. kNotFound naming one.
  Result<std::vector<Volume>> Volumes(const std::vector<std::string>& names) const;
  // The same with sizes, for which the disk is read.
  void MeasureVolumes(const std::vector<std::string>& names, Done<std::vector<Volume>> done);
  // kFailedPrecondition naming the containers that use it; kNotFound, which is OK with `missing_ok`.
  void RemoveVolume(const std::string& name, bool missing_ok, Done<Nothing> done);

  // One more tag. kNotFound; kInvalidArgument for a reference without a tag.
  void TagImage(const std::string& image, const std::string& reference, Done<Nothing> done);
  // As docker rmi: a tag of several goes alone, with the last one the image. kFailedPrecondition: a container uses it,
  // or it has several tags and was named by its ID; not with `force`. kNotFound.
  struct RemovedImage {
    std::vector<std::string> untagged;
    std::string deleted;  // its ID; empty: it has other names
  };
  void RemoveStoredImage(const std::string& image, bool force, Done<RemovedImage> done);
  // As tools look at images; from memory and content. All when none is named. kNotFound naming one.
  struct StoredImage {
    image::ImageRecord record;
    std::shared_ptr<const oci::ImageConfig> config;  // nullptr: an artifact, or damaged
    std::string config_json;                         // with `full`
    std::vector<uint64_t> layer_sizes;               // bottom first
    uint64_t shared_size = 0;                        // of layers that other images have, too
    uint32_t containers = 0;
  };
  Result<std::vector<StoredImage>> StoredImages(const std::vector<std::string>& images, bool full) const;

  // ---- Files of a container, running or not (container_files.cc) ----
  // kNotFound: the container or the path. Links are followed inside its root only.
  void StatPath(const std::string& container, const std::string& path, Done<image::TreeStat> done);
  class ArchiveSink {
   public:
    virtual ~ArchiveSink() = default;
    virtual Status Begin(const image::TreeStat& stat) = 0;  // first; not of a whole root
    virtual Status Write(std::string_view bytes) = 0;       // may wait; an error ends the reading
  };
  // A tar of what is at `path`; empty: of the whole root, without what is mounted on it.
  void ReadArchive(const std::string& container, const std::string& path, std::shared_ptr<ArchiveSink> sink,
                   Done<Nothing> done);
  struct ArchiveTarget {
    std::string container;
    std::string path;  // a directory that is there
    bool no_overwrite_dir_non_dir = false;
    bool copy_ids = false;
  };
  class ArchiveSource {
   public:
    virtual ~ArchiveSource() = default;
    virtual Result<std::string> Next() = 0;  // may wait; empty at the end
  };
  // Unpacks a tar, packed or not. kInvalidArgument: no tar, or it leaves the directory; kFailedPrecondition: read-only.
  void WriteArchive(const ArchiveTarget& target, std::shared_ptr<ArchiveSource> source, Done<Nothing> done);
  void ListChanges(const std::string& container, Done<ContainerChanges> done);
  struct CommitRequest {
    std::string container;
    std::string reference;             // empty: no name
    std::vector<std::string> changes;  // oci/import_config.h
    std::string author;
    std::string message;
    std::string config;  // oci/commit_config.h
    bool pause = true;   // freezes the container meanwhile
  };
  // The ID of an image of the container's image and what it wrote.
  void Commit(CommitRequest request, Done<std::string> done);

  // Whether these images, all when there are none, are what their digests say (engine/verification.h).
  void VerifyImages(const std::vector<std::string>& images, std::function<void(const VerifyProgress&)> progress,
                    PullWanted wanted, Done<VerifyReport> done);

  // Whose each byte of the store is, as far as it is known now.
  Result<DiskReport> Disk();

  // ---- Events ----
  [[nodiscard]] EventLog& Events();

  // ---- Reads ----
  [[nodiscard]] SnapshotPtr View() const;
  // On a pool of two threads: some files for each container and pod, read now. The pods are ready ones.
  void Stats(std::vector<ContainerPtr> containers, Done<std::vector<ContainerStats>> done);
  void StatsOfPods(const std::vector<PodPtr>& pods, Done<std::vector<PodStats>> done);
  void NumbersOfPods(const std::vector<PodPtr>& pods, Done<std::vector<PodNumbers>> done);  // for metrics
  // What davitd itself does, for Prometheus.
  void WriteMetrics(MetricsText& out) const;
  [[nodiscard]] network::Readiness NetworkReadiness() const;
  [[nodiscard]] std::string NetworkStatusJson() const;
  // Why no pod can run: the root or the state directory is read-only. OK otherwise.
  [[nodiscard]] Status StorageReadiness() const;
  // What of davitd's own records could not be used at its start, for people; empty: nothing.
  [[nodiscard]] std::string Losses() const;
  // How far the preload directory is, and what of it could not be loaded, for people; empty: there is none.
  [[nodiscard]] std::string PreloadSummary() const;
  [[nodiscard]] std::vector<HandlerInfo> Handlers() const;
  [[nodiscard]] const config::Config& Configuration() const;
  [[nodiscard]] bool SystemdCgroups() const;
  // The runtime's own views of an object for verbose status: "info" as JSON text.
  Result<std::string> RuntimeSpecJson(const container::ContainerRecord& record) const;

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::engine
