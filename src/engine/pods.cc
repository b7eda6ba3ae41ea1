// The pod verbs.

#include <sys/epoll.h>

#include <algorithm>
#include <random>

#include "base/fault.h"
#include "base/log.h"
#include "base/rollback.h"
#include "base/strings.h"
#include "base/time.h"
#include "container/selinux.h"
#include "engine/state.h"
#include "oci/json.h"
#include "sys/systemd_names.h"
#include "sys/unique_fd.h"

namespace davit::engine {
namespace {

// A pod is the same one when the kubelet names it so: a retry after a client's timeout has all four equal.
std::string Identity(const pod::PodSpec& spec) {
  return spec.namespace_name + "/" + spec.name + "/" + spec.uid + "/" + std::to_string(spec.attempt);
}

// Whether a bundle mounts something of a directory. Every container has files of its pod mounted; that the text has
// the path in it says nothing, for arguments and annotations are the client's.
bool MountsFrom(const std::string& bundle, const std::string& directory) {
  Result<boost::json::value> document = oci::ParseJson(bundle, size_t{16} << 20);
  if (!document.ok()) return false;
  Result<std::vector<oci::JsonNode>> mounts = oci::JsonNode(*document, "bundle").Key("mounts").Elements();
  if (!mounts.ok()) return false;
  return std::any_of(mounts->begin(), mounts->end(), [&](const oci::JsonNode& mount) {
    return mount.Key("source").StringOr("").value_or("").starts_with(directory + "/");
  });
}

std::string Describe(const pod::PodSpec& spec) { return "pod " + spec.namespace_name + "/" + spec.name; }

}  // namespace

void Engine::RunPod(pod::PodSpec spec, Done<PodId> done) {
  State* state = state_.get();
  // Only an equal request joins: another one with the same identity has to hear that it is taken.
  const std::string key = Identity(spec) + " #" + std::to_string(std::hash<std::string>()(pod::ToText(spec)));
  state->run_pods.Join(key, std::move(done), [state, spec = std::move(spec)](auto finish) {
    state->Post(Identity(spec), [state, spec, finish] {
      const std::string intent = "run " + Describe(spec);
      Result<pod::PodRecord> record = state->IntendPod(PodId::Mint(), spec);
      if (!record.ok()) {
        finish(record.status().Annotate(intent));
        return;
      }
      state->Post(record->id.str(), [state, record = *record, intent, finish] {
        Result<PodId> result = state->MakePod(record);
        if (!result.ok()) result = result.status().Annotate(intent);
        finish(std::move(result));
      });
    });
  });
}

void Engine::StopPod(const std::string& text, Done<Nothing> done) {
  state_->PodVerb(text, "stop", &State::StopPodNow, std::move(done));
}

void Engine::RemovePod(const std::string& text, Done<Nothing> done) {
  state_->PodVerb(text, "remove", &State::RemovePodNow, std::move(done));
}

void Engine::State::PodVerb(const std::string& text, const std::string& verb, Status (State::*now)(const PodId&),
                            Done<Nothing> done) {
  Result<PodPtr> pod = View().FindPod(text);
  if (!pod.ok()) {
    done(pod.code() == StatusCode::kNotFound ? Result<Nothing>(Nothing{}) : Result<Nothing>(pod.status()));
    return;
  }
  PodId id = (*pod)->id;
  verbs.Join(verb + " pod " + id.str(), std::move(done), [this, id, verb, now](auto finish) {
    Post(id.str(), [this, id, verb, now, finish] {
      Status status = (this->*now)(id);
      finish(status.ok() ? Result<Nothing>(Nothing{}) : status.Annotate(verb + " pod " + id.Short()));
    });
  });
}

Result<pod::PodRecord> Engine::State::IntendPod(const PodId& id, const pod::PodSpec& spec) {
  const SnapshotPtr view = View();
  for (const auto& [other, record] : view->pods()) {
    // One that is only waiting to be taken away (its network is stuck, say) must not keep the name.
    if (record->phase == pod::Phase::kRemoving) continue;
    if (Identity(record->spec) == Identity(spec)) {
      return AlreadyExists("it exists already with id " + other.str() + " (uid " + Printable(spec.uid) + ", attempt " +
                           std::to_string(spec.attempt) + ")");
    }
  }
  pod::PodRecord record;
  record.id = id;
  record.boot_id = boot_id;
  record.spec = spec;
  record.created_at = WallNanos();
  record.runtime_handler = spec.runtime_handler.empty() ? config.runtime.default_handler : spec.runtime_handler;
  if (containers->Handler(record.runtime_handler) == nullptr) {
    std::vector<std::string> names;
    for (const auto& [name, entry] : containers->options().handlers) names.push_back(name);
    return InvalidArgument("runtime_handler \"" + Printable(record.runtime_handler) +
                           "\" is not configured (there are: " + Join(names, ", ") + ")");
  }
  if (spec.has_user_namespace()) RETURN_IF_ERROR(CheckUserNamespaces(record.runtime_handler));
  RETURN_IF_ERROR(PlanModules(record));
  const std::string level = record.selinux_level;
  Result<pod::PodRecord> planned = sandboxes->Plan(std::move(record));
  Status put = planned.ok() ? records->Put(*planned) : planned.status();
  if (!level.empty()) {
    // From now on the record itself keeps the level from other pods.
    std::lock_guard lock(levels_lock);
    levels_picked.erase(level);
  }
  RETURN_IF_ERROR(put);
  record = std::move(*planned);
  FaultPoint("pod.run.intent");
  return record;
}

Status Engine::State::PlanModules(pod::PodRecord& record) {
  const container::ContainersOptions& options = containers->options();
  const container::RuntimeEntry* handler = containers->Handler(record.runtime_handler);
  if (handler != nullptr) {
    ASSIGN_OR_RETURN(container::AnnotationSettings settings,
                     container::ReadAnnotations(handler->settings, record.spec.annotations, {}));
    record.shm_bytes = settings.shm_bytes;
  }
  if (!options.node.selinux) return {};
  RETURN_IF_ERROR(PlanSelinuxLevel(record));
  container::SelinuxContext label = options.node.selinux->defaults().file;
  label.level = record.selinux_level;
  // What the policy does not know is an error of each container, which may name other labels.
  if (options.node.selinux->Check(label.ToString()).ok()) record.selinux_mount_label = label.ToString();
  return {};
}

Status Engine::State::PlanSelinuxLevel(pod::PodRecord& record) {
  record.selinux_level = record.spec.selinux.level;
  if (!record.selinux_level.empty()) return {};  // asked for, and perhaps shared on purpose
  std::lock_guard lock(levels_lock);
  std::set<std::string> taken = levels_picked;
  const SnapshotPtr view = View();
  for (const auto& [id, other] : view->pods()) taken.insert(other->selinux_level);
  std::random_device device;
  auto random = [&device](uint32_t below) { return std::uniform_int_distribution<uint32_t>(0, below - 1)(device); };
  ASSIGN_OR_RETURN(record.selinux_level, container::PickSelinuxLevel(taken, random));
  levels_picked.insert(record.selinux_level);
  return {};
}

Result<PodId> Engine::State::MakePod(const pod::PodRecord& intent) {
  pod::PodRecord record = intent;
  Result<pod::PodRecord> made = sandboxes->Run(record, Deadline::After(kVerbBudget));
  Status status = made.status();
  if (status.ok()) status = OpenNames(*made, /*fresh=*/true).Annotate("answer names");
  if (status.ok()) {
    made->phase = pod::Phase::kReady;
    if (IsStandalone(*made)) made->started_at = WallNanos();
    status = records->Put(*made);
  }
  if (status.ok()) {
    FaultPoint("pod.run.ready");
    // A pod without its watch works as well until its init dies, which the next start would see.
    if (Status watched = WatchInit(*made); !watched.ok()) {
      LogWarning("pod {}: watch its init: {}", record.id.Short(), watched.message());
    }
    return record.id;
  }
  return status.WithUndoError(UndoPod(std::move(record)));
}

// From the record; what cannot be undone now stays recorded and is tried again.
Status Engine::State::UndoPod(pod::PodRecord record) {
  name_server->Close(record.id);
  Status undone = sandboxes->Destroy(record, Deadline::After(kVerbBudget));
  if (IsStandalone(record)) {
    record.phase = record.started_at > 0 ? pod::Phase::kNotReady : pod::Phase::kDefined;
    record.init_pid = 0;
    if (undone.ok()) pod::ClearAttachment(record);
    undone = undone.WithUndoError(records->Put(record));
    if (!record.attachment.empty()) RetryDetachLater(record.id);
    return undone;
  }
  if (undone.ok()) undone = records->Erase(record.id);
  if (!undone.ok()) {
    record.phase = pod::Phase::kRemoving;
    IgnoreError(records->Put(record));  // the intent on disk serves recovery just as well
    RetryDetachLater(record.id);
  }
  return undone;
}

Status Engine::State::WatchInit(const pod::PodRecord& record) {
  if (record.init_pid == 0) return {};
  const PodId id = record.id;
  Result<sys::PidFd> opened = sys::PidFd::Open(static_cast<pid_t>(record.init_pid));
  Result<uint64_t> started = sys::ProcessStartTime(static_cast<pid_t>(record.init_pid));
  if (!opened.ok() || !started.ok() || *started != record.init_start_time) {
    // It ended before it could be watched; its number may be another's by now.
    Post(id.str(), [this, id] { OnInitEnded(id); });
    return {};
  }
  sys::PidFd process = std::move(*opened);
  const int fd = process.fd();
  std::lock_guard lock(watches_lock);
  ASSIGN_OR_RETURN(sched::EventLoop::Token token, loop->Watch(fd, EPOLLIN, [this, id](uint32_t) {
    UnwatchInit(id);
    Post(id.str(), [this, id] { OnInitEnded(id); });
  }));
  init_watches[id] = {std::move(process), token};
  return {};
}

void Engine::State::OnInitEnded(const PodId& id) {
  PodPtr pod = Pod(id);
  if (!pod || (pod->phase != pod::Phase::kReady && pod->phase != pod::Phase::kStopping)) return;
  LogWarning("pod {}: the init of its PID namespace has ended: the pod is stopped", id.Short());
  Status status = StopPodNow(id);
  if (status.ok()) return;
  LogWarning("pod {}: stop: {}; tried again", id.Short(), status.message());
  loop->After(std::chrono::seconds(10), [this, id] { Post(id.str(), [this, id] { OnInitEnded(id); }); });
}

void Engine::State::UnwatchInit(const PodId& id) {
  InitWatch watch;
  {
    std::lock_guard lock(watches_lock);
    auto it = init_watches.find(id);
    if (it == init_watches.end()) return;
    watch = std::move(it->second);
    init_watches.erase(it);
  }
  loop->Remove(watch.token);  // before the descriptor closes; not under the lock its callback takes
}

Status Engine::State::StopPodNow(const PodId& id) {
  UnwatchInit(id);
  PodPtr current = Pod(id);
  if (!current) return {};
  const bool down = current->phase == pod::Phase::kNotReady || current->phase == pod::Phase::kDefined;
  if (down && current->attachment.empty()) return {};
  pod::PodRecord record = *current;
  record.phase = pod::Phase::kStopping;
  RETURN_IF_ERROR(records->Put(record));
  pod_interfaces.Drop(id);  // after the phase: nobody opens them again
  name_server->Close(id);
  FaultPoint("pod.stop.intent");
  for (const ContainerPtr& ctr : View().ContainersOf(id)) {
    RETURN_IF_ERROR(Settle(ctr->id).Annotate("end container " + ctr->id.Short()));
  }
  FaultPoint("pod.stop.containers");
  ASSIGN_OR_RETURN(record, sandboxes->Stop(record, Deadline::After(kVerbBudget)));
  record.phase = pod::Phase::kNotReady;
  RETURN_IF_ERROR(records->Put(record));
  cgroup_stats->Forget(record.cgroup);
  FaultPoint("pod.stop.done");
  if (!record.attachment.empty()) RetryDetachLater(id);
  return {};
}

Status Engine::State::RemovePodNow(const PodId& id) {
  UnwatchInit(id);
  PodPtr current = Pod(id);
  if (!current) return {};
  pod::PodRecord record = *current;
  record.phase = pod::Phase::kRemoving;
  RETURN_IF_ERROR(records->Put(record));
  pod_interfaces.Drop(id);
  name_server->Close(id);
  FaultPoint("pod.remove.intent");
  for (const ContainerPtr& ctr : View().ContainersOf(id)) {
    RETURN_IF_ERROR(RemoveContainerNow(ctr->id).Annotate("remove container " + ctr->id.Short()));
  }
  FaultPoint("pod.remove.containers");
  RETURN_IF_ERROR(RemoveStrays(record));
  RETURN_IF_ERROR(sandboxes->Destroy(record, Deadline::After(kVerbBudget)));
  cgroup_stats->Forget(record.cgroup);
  FaultPoint("pod.remove.destroyed");
  return records->Erase(id);
}

Status Engine::State::RemoveStrays(const pod::PodRecord& pod) {
  const SnapshotPtr view = View();
  ASSIGN_OR_RETURN(std::vector<ContainerId> there, containers->ListDirectories());
  for (const ContainerId& id : there) {
    if (view->containers().count(id) != 0) continue;
    std::string cgroup = sys::ChildCgroup(pod.cgroup, "davit-" + id.str());
    // It has the name that was configured when it was made.
    if (const std::string other = sys::ChildCgroup(pod.cgroup, "crio-" + id.str()); sys::CgroupExists(cgroups, other)) {
      cgroup = other;
    }
    // The cgroup of a pod that named no parent is its own.
    const bool inside = pod.spec.cgroup_parent.empty() && sys::CgroupExists(cgroups, cgroup);
    Result<std::string> bundle = sys::ReadFile(containers->paths().Bundle(id) + "/config.json", size_t{16} << 20);
    if (!inside && !(bundle.ok() && MountsFrom(*bundle, sandboxes->paths().Directory(pod.id)))) continue;
    LogError("container {} of pod {} has no record any more: taken away with the pod", id.str(), pod.id.Short());
    container::ContainerRecord record;
    record.id = id;
    record.pod = pod.id;
    record.runtime_handler = pod.runtime_handler;
    record.cgroup = cgroup;
    Unwatch(id);
    RETURN_IF_ERROR(
        containers->Destroy(record, Deadline::After(kVerbBudget)).Annotate("remove container " + id.Short()));
    // Of one whose row is there and cannot be read.
    RETURN_IF_ERROR(database->Delete(store::Kind::kContainer, id.str(), store::Durability::kAtomic));
  }
  return {};
}

// A CNI plugin that fails must not keep a pod from being stopped; the debt is paid later.
void Engine::State::RetryDetachLater(const PodId& id) {
  loop->After(std::chrono::seconds(10), [this, id] {
    Post(id.str(), [this, id] {
      PodPtr record = Pod(id);
      if (!record) return;
      Status status;
      if (record->phase == pod::Phase::kRemoving) {
        status = RemovePodNow(id);
      } else if ((record->phase == pod::Phase::kNotReady || record->phase == pod::Phase::kDefined) &&
                 !record->attachment.empty()) {
        status = StopPodNow(id);  // plans the next try itself
        return;
      }
      if (!status.ok()) RetryDetachLater(id);
    });
  });
}

}  // namespace davit::engine
