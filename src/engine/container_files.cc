// The files of a container: looked at and written by a helper (tree_helper.h), which sees what the container sees.

#include <fcntl.h>

#include <future>

#include "base/log.h"
#include "base/strings.h"
#include "container/user_namespace.h"
#include "engine/state.h"
#include "engine/tree_helper.h"
#include "oci/json.h"
#include "sys/atomic_file.h"
#include "sys/mounts.h"

namespace davit::engine {
namespace {

using container::ContainerRecord;
using container::Phase;

constexpr std::chrono::minutes kStall{2};  // without a byte
constexpr size_t kMaxBundleBytes = 16 << 20;

bool Has(const std::vector<std::string>& options, std::string_view option) {
  return std::find(options.begin(), options.end(), option) != options.end();
}

// The bind mounts of a container, parents first: as its OCI spec has them.
Result<std::vector<image::TreeMount>> BindsOf(const std::string& bundle) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(bundle + "/config.json", kMaxBundleBytes));
  ASSIGN_OR_RETURN(boost::json::value document, oci::ParseJson(text, kMaxBundleBytes));
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> mounts, oci::JsonNode(document, "config.json").Key("mounts").Elements());
  std::vector<image::TreeMount> binds;
  for (const oci::JsonNode& mount : mounts) {
    ASSIGN_OR_RETURN(std::vector<std::string> options, mount.Key("options").Strings());
    if (!Has(options, "bind") && !Has(options, "rbind")) continue;
    image::TreeMount bind;
    ASSIGN_OR_RETURN(bind.source, mount.Key("source").String());
    ASSIGN_OR_RETURN(bind.target, mount.Key("destination").String());
    bind.read_only = Has(options, "ro") || Has(options, "rro");
    binds.push_back(std::move(bind));
  }
  return binds;
}

// Mount points that the runtime makes in the writable layer: neither changes of the container nor part of its image.
std::vector<std::string> MountPoints(const std::string& bundle) {
  Result<std::string> text = sys::ReadFile(bundle + "/config.json", kMaxBundleBytes);
  if (!text.ok()) return {};
  Result<boost::json::value> document = oci::ParseJson(*text, kMaxBundleBytes);
  if (!document.ok()) return {};
  Result<std::vector<oci::JsonNode>> mounts = oci::JsonNode(*document, "config.json").Key("mounts").Elements();
  if (!mounts.ok()) return {};
  std::vector<std::string> points;
  for (const oci::JsonNode& mount : *mounts) {
    const std::string target = mount.Key("destination").StringOr("").value_or("");
    if (target.size() > 1) points.push_back(target.substr(1));
  }
  return points;
}

}  // namespace

std::vector<std::string> Engine::State::MountPointsOf(const ContainerRecord& record) const {
  std::vector<std::string> points = MountPoints(containers->paths().Bundle(record.id));
  if (points.empty()) {
    for (const container::Mount& mount : record.spec.mounts) points.push_back(mount.container_path.substr(1));
  }
  // Of the OCI runtime's own making, or of container/own_files.h.
  for (const char* own : {"dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf"}) points.emplace_back(own);
  return points;
}

Status Engine::State::MountForFiles(const ContainerRecord& record) {
  const std::string target = containers->paths().Rootfs(record.id);
  if (Result<bool> mounted = sys::IsMountPoint(target); mounted.ok() && *mounted) return {};
  if (record.host_root != 0) {
    return FailedPrecondition("container " + record.id.Short() +
                              " is not running, and the user namespace that its files belong to is gone");
  }
  store::RootfsMount mount;
  store::MountLease lease;
  ASSIGN_OR_RETURN(mount.layers, LayerPaths(record.layers, lease));
  mount.target = target;
  return rootfs->Mount(record.id, mount);  // until it is removed, as that of a container that ran
}

Result<Engine::State::Tree> Engine::State::OpenTree(const std::string& text, const std::string& verb,
                                                    const std::string& path) {
  ASSIGN_OR_RETURN(ContainerPtr record, View().FindNamedContainer(text));
  Tree tree;
  tree.record = record;
  tree.job.verb = verb;
  tree.job.path = path;
  if (record->host_root != 0) {
    tree.job.ids_outside = record->host_root;
    tree.job.ids_length = 65'536;  // what a pod's namespace has at least (pod/user_namespace.h)
    if (PodPtr pod = Pod(record->pod)) {
      const sys::IdRange ids = container::MappedIds(EnvironmentFor(*pod));
      if (ids.length != 0) tree.job.ids_length = ids.length;
    }
  }
  const bool whole = verb == "export";
  auto running = [&]() -> std::optional<int64_t> {
    if (record->phase != Phase::kRunning && record->phase != Phase::kCreated) return std::nullopt;
    Result<monitor::State> now =
        monitor::Query(containers->paths().Directory(record->id), Deadline::After(kKillBudget));
    const bool alive = now.ok() && (now->phase == monitor::Phase::kRunning || now->phase == monitor::Phase::kCreated);
    return alive && now->pid > 0 ? std::optional<int64_t>(now->pid) : std::nullopt;
  };
  // An export is of the root alone, without what is mounted on it: the node's mount of it.
  if (std::optional<int64_t> pid = whole ? std::nullopt : running()) {
    Result<sys::UniqueFd> root = sys::Open("/proc/" + std::to_string(*pid) + "/root", O_PATH | O_DIRECTORY);
    // Asked again: had it ended before the link was open, the number could be somebody else's by then.
    if (root.ok() && running() == pid) {
      tree.root = std::move(*root);
      return tree;
    }
  }
  // In the order of the container's other business: a start mounts it, a removal unmounts it.
  auto mounted = std::make_shared<std::promise<Status>>();
  std::future<Status> done = mounted->get_future();
  Post(record->pod.str(), [this, id = record->id, mounted] {
    ContainerPtr now = Container(id);
    mounted->set_value(now ? MountForFiles(*now) : NotFound("container " + id.str() + " not found"));
  });
  if (done.wait_for(kVerbBudget) != std::future_status::ready) return DeadlineExceeded("the pod is busy");
  RETURN_IF_ERROR(done.get());
  tree.job.root = containers->paths().Rootfs(record->id);
  if (whole) return tree;
  tree.job.read_only = record->spec.security.readonly_rootfs;
  Result<std::vector<image::TreeMount>> binds = BindsOf(containers->paths().Bundle(record->id));
  if (binds.ok()) {
    tree.job.mounts = std::move(*binds);
    return tree;
  }
  for (const container::Mount& mount : record->spec.mounts) {
    std::string source = mount.host_path;
    if (!mount.volume.empty()) {
      ASSIGN_OR_RETURN(const store::Volumes::Attached attached, volumes->Attach(mount.volume));
      source = attached.path;
    }
    if (!source.empty()) tree.job.mounts.push_back({source, mount.container_path, mount.readonly});
  }
  return tree;
}

void Engine::StatPath(const std::string& container, const std::string& path, Done<image::TreeStat> done) {
  State* state = state_.get();
  state->files_pool.Post([state, container, path, done = std::move(done)] {
    done([&]() -> Result<image::TreeStat> {
      ASSIGN_OR_RETURN(State::Tree tree, state->OpenTree(container, "stat", path));
      ASSIGN_OR_RETURN(auto helper, TreeHelper::Start(state->tree_program, tree.job, tree.root.get()));
      return helper->Stat(Deadline::After(kStall));
    }());
  });
}

void Engine::ReadArchive(const std::string& container, const std::string& path, std::shared_ptr<ArchiveSink> sink,
                         Done<Nothing> done) {
  State* state = state_.get();
  state->files_pool.Post([state, container, path, sink = std::move(sink), done = std::move(done)] {
    done(ToResult([&]() -> Status {
      const bool whole = path.empty();
      ASSIGN_OR_RETURN(State::Tree tree, state->OpenTree(container, whole ? "export" : "read", path));
      ASSIGN_OR_RETURN(auto helper, TreeHelper::Start(state->tree_program, tree.job, tree.root.get()));
      image::TreeStat stat;
      if (!whole) {
        ASSIGN_OR_RETURN(stat, helper->Stat(Deadline::After(kStall)));
        RETURN_IF_ERROR(sink->Begin(stat));
      }
      for (;;) {
        ASSIGN_OR_RETURN(const std::string piece, helper->Read(Deadline::After(kStall)));
        if (piece.empty()) return helper->Finish(Deadline::After(kStall));
        RETURN_IF_ERROR(sink->Write(piece));
      }
    }()));
  });
}

void Engine::ListChanges(const std::string& container, Done<ContainerChanges> done) {
  State* state = state_.get();
  state->files_pool.Post([state, container, done = std::move(done)] {
    done([&]() -> Result<ContainerChanges> {
      ASSIGN_OR_RETURN(ContainerPtr record, state->View().FindNamedContainer(container));
      ChangesInput input;
      input.upper = state->rootfs->UpperDir(record->id);
      store::MountLease lease;
      ASSIGN_OR_RETURN(input.layers, state->LayerPaths(record->layers, lease));
      input.host_root = record->host_root;
      const std::vector<std::string> points = state->MountPointsOf(*record);
      input.mount_points = {points.begin(), points.end()};
      Result<ContainerChanges> changes = engine::ListChanges(input, Deadline::After(kStall));
      // One that has never been started has written nothing.
      if (changes.code() == StatusCode::kNotFound) return ContainerChanges();
      return changes;
    }());
  });
}

void Engine::WriteArchive(const ArchiveTarget& target, std::shared_ptr<ArchiveSource> source, Done<Nothing> done) {
  State* state = state_.get();
  state->files_pool.Post([state, target, source = std::move(source), done = std::move(done)] {
    done(ToResult([&]() -> Status {
      ASSIGN_OR_RETURN(State::Tree tree, state->OpenTree(target.container, "write", target.path));
      tree.job.copy_ids = target.copy_ids;
      tree.job.no_overwrite_dir_non_dir = target.no_overwrite_dir_non_dir;
      ASSIGN_OR_RETURN(auto helper, TreeHelper::Start(state->tree_program, tree.job, tree.root.get()));
      for (;;) {
        ASSIGN_OR_RETURN(const std::string piece, source->Next());
        if (piece.empty()) break;
        ASSIGN_OR_RETURN(bool more, helper->Write(piece, Deadline::After(kStall)));
        if (!more) break;
      }
      helper->EndInput();
      return helper->Finish(Deadline::After(kStall));
    }()));
  });
}

}  // namespace davit::engine
