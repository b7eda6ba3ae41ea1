// The container verbs and what follows from a container's exit.

#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "container/resources.h"
#include "engine/state.h"
#include "sys/systemd_names.h"

namespace davit::engine {
namespace {

using container::ContainerRecord;
using container::Phase;

std::string PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kCreating:
      return "being created";
    case Phase::kCreated:
      return "created";
    case Phase::kRunning:
      return "running";
    case Phase::kExited:
      return "exited";
    case Phase::kRemoving:
      return "being removed";
    case Phase::kDefined:
      return "defined";
  }
  return "unknown";
}

bool Alive(const ContainerRecord& record) { return record.phase == Phase::kCreated || record.phase == Phase::kRunning; }

// CRI log paths are relative to the pod's log directory.
std::string AbsoluteLogPath(const container::ContainerSpec& spec, const std::string& log_directory) {
  if (spec.log_path.empty() || log_directory.empty()) return {};
  return log_directory + "/" + spec.log_path;
}

Result<int> StopSignal(const ContainerRecord& record, const oci::ImageConfig& image) {
  if (record.spec.stop_signal > 0) return record.spec.stop_signal;
  if (image.stop_signal.empty()) return SIGTERM;
  return container::ParseSignal(image.stop_signal);
}

}  // namespace

void Engine::CreateContainer(const std::string& pod_text, container::ContainerSpec spec, Done<ContainerId> done) {
  State* state = state_.get();
  Result<PodPtr> pod = state->View().FindPod(pod_text);
  if (!pod.ok()) {
    done(pod.status());
    return;
  }
  PodId pod_id = (*pod)->id;
  // Only an equal request joins: another one under the same name has to hear that the name is taken.
  const std::string key = pod_id.str() + "/" + spec.name + "/" + std::to_string(spec.attempt) + " #" +
                          std::to_string(std::hash<std::string>()(container::ToText(spec)));
  state->create_containers.Join(key, std::move(done), [state, pod_id, spec = std::move(spec)](auto finish) {
    ContainerId id = ContainerId::Mint();
    state->Post(pod_id.str(), [state, id, pod_id, spec, finish] {
      Result<ContainerId> result = state->CreateContainerNow(id, pod_id, spec);
      if (!result.ok()) result = result.status().Annotate("create container " + Printable(spec.name));
      finish(std::move(result));
    });
  });
}

void Engine::StartContainer(const std::string& text, Done<Nothing> done) {
  State* state = state_.get();
  state->ContainerVerb(
      text, "start", State::Unknown::kIsError,
      [state](const ContainerId& id, const State::Finish& finish) {
        finish(ToResult(state->StartContainerNow(id).Annotate("start container " + id.Short())));
      },
      std::move(done));
}

void Engine::StopContainer(const std::string& text, std::chrono::seconds grace, Done<Nothing> done) {
  State* state = state_.get();
  if (Result<ContainerPtr> record = state->View().FindContainer(text); record.ok()) {
    state->stops.Ask((*record)->id, std::chrono::steady_clock::now() + grace);
  }
  state->ContainerVerb(
      text, "stop", State::Unknown::kIsDone,
      [state, grace](const ContainerId& id, const State::Finish& finish) { state->BeginStop(id, grace, 0, finish); },
      std::move(done));
  // A stop that was under way before hears of the shorter grace only here.
  if (Result<ContainerPtr> record = state->View().FindContainer(text); record.ok()) {
    ContainerId id = (*record)->id;
    state->Post((*record)->pod.str(), [state, id] { state->ArmKill(id); });
  }
}

void Engine::RemoveContainer(const std::string& text, Done<Nothing> done) {
  State* state = state_.get();
  state->ContainerVerb(
      text, "remove", State::Unknown::kIsDone,
      [state](const ContainerId& id, const State::Finish& finish) {
        finish(ToResult(state->RemoveContainerNow(id).Annotate("remove container " + id.Short())));
      },
      std::move(done));
}

void Engine::State::ContainerVerb(const std::string& text, const std::string& verb, Unknown unknown,
                                  std::function<void(const ContainerId&, const Finish&)> now, Done<Nothing> done) {
  Result<ContainerPtr> record = View().FindContainer(text);
  if (!record.ok()) {
    bool is_done = unknown == Unknown::kIsDone && record.code() == StatusCode::kNotFound;
    done(is_done ? Result<Nothing>(Nothing{}) : Result<Nothing>(record.status()));
    return;
  }
  ContainerId id = (*record)->id;
  PodId pod = (*record)->pod;
  verbs.Join(verb + " container " + id.str(), std::move(done), [this, id, pod, now = std::move(now)](auto finish) {
    Post(pod.str(), [id, now, finish] { now(id, finish); });
  });
}

void Engine::ReopenLog(const std::string& text, Done<Nothing> done) {
  State* state = state_.get();
  Result<ContainerPtr> found = state->View().FindContainer(text);
  if (!found.ok()) {
    done(found.status());
    return;
  }
  ContainerPtr record = *found;
  if (record->phase != Phase::kRunning) {
    done(FailedPrecondition("container " + record->id.Short() + " is " + PhaseName(record->phase) + ", not running"));
    return;
  }
  // Not on the strand: rotating a log must not wait for the pod's other business.
  state->exec_pool.Post([state, record, done] {
    done(ToResult(monitor::ReopenLog(state->containers->paths().Directory(record->id), Deadline::After(kKillBudget))
                      .Annotate("reopen log of container " + record->id.Short())));
  });
}

Result<ContainerId> Engine::State::CreateContainerNow(const ContainerId& id, const PodId& pod_id,
                                                      const container::ContainerSpec& spec) {
  PodPtr pod = Pod(pod_id);
  if (!pod) return NotFound("pod sandbox " + pod_id.str() + " not found");
  if (pod->phase != pod::Phase::kReady) {
    return FailedPrecondition("pod sandbox " + pod_id.Short() + " is not ready");
  }
  for (const ContainerPtr& other : View().ContainersOf(pod_id)) {
    if (other->spec.name == spec.name && other->spec.attempt == spec.attempt) {
      return AlreadyExists("attempt " + std::to_string(spec.attempt) + " exists already with id " + other->id.str());
    }
  }
  container::PodEnvironment environment = EnvironmentFor(*pod);
  ASSIGN_OR_RETURN(Target target, FindTarget(pod_id, spec.security.namespaces));
  environment.target_pid_namespace = target.path;
  const container::RuntimeEntry* handler = containers->Handler(pod->runtime_handler);
  bool recursive_read_only = handler != nullptr && handler->features.recursive_read_only_mounts;
  RETURN_IF_ERROR(container::ValidateResources(spec.resources, containers->options().node.cgroups));
  RETURN_IF_ERROR(container::ValidateSpec(spec, environment, recursive_read_only));

  ContainerRecord record;
  record.id = id;
  record.pod = pod_id;
  record.boot_id = boot_id;
  record.spec = spec;
  record.runtime_handler = pod->runtime_handler;
  if (sys::IsSlice(pod->cgroup) != systemd_cgroups) {
    return FailedPrecondition("pod sandbox " + pod_id.Short() + " was made under the other runtime.cgroup_driver (" +
                              pod->cgroup + "): make it anew");
  }
  const std::string prefix = config.api.crio_socket.empty() ? "davit-" : "crio-";  // which cAdvisor looks for
  record.cgroup = sys::ChildCgroup(pod->cgroup, prefix + id.str());
  record.log_path = AbsoluteLogPath(spec, pod->spec.log_directory);
  record.created_at = WallNanos();
  ASSIGN_OR_RETURN(record, MakeContainer(std::move(record), *pod, target));
  return id;
}

// What lists and the status call the image: the digest of the repository that was asked for, else of any that it came
// from; and its tag where it was asked for by id.
void NameImage(ContainerRecord& record, const image::ImageRecord& image, const image::ShortNames& names) {
  const container::ImageSpec& spec = record.spec.image;
  Result<std::vector<image::Reference>> asked =
      names.Candidates(spec.user_specified_image.empty() ? spec.image : spec.user_specified_image);
  for (const std::string& digest : image.repo_digests) {
    const bool same = asked.ok() && std::any_of(asked->begin(), asked->end(), [&](const image::Reference& name) {
                        return digest.starts_with(name.Name() + "@");
                      });
    if (record.image_ref.empty() || same) record.image_ref = digest;
    if (same) break;
  }
  const bool by_name = asked.ok() && !image::IsImageIdPrefix(spec.image);
  if (!by_name && !image.repo_tags.empty()) record.image_name = image.repo_tags[0];
}

Result<ContainerRecord> Engine::State::MakeContainer(ContainerRecord record, const pod::PodRecord& pod,
                                                     const Target& target) {
  ASSIGN_OR_RETURN(image::ImageRecord image, images->Resolve(record.spec.image.image));
  // Held until the record names the layers: a RemoveImage in between must not take them.
  image::LayerHold hold = images->Hold(image.layers);
  ASSIGN_OR_RETURN(image, images->Find(image.id));
  if (!image.artifact_type.empty()) {
    return InvalidArgument(fmt::format(
        "image.image: \"{}\" is an OCI artifact of type {}, which has no program to run; mount it as an image volume",
        Printable(record.spec.image.image), Printable(image.artifact_type)));
  }
  RETURN_IF_ERROR(
      trust->Check(image, record.spec.image.image, record.spec.image.user_specified_image, pod.spec.namespace_name));
  ASSIGN_OR_RETURN(std::shared_ptr<const oci::ImageConfig> image_config, images->Config(image));
  record.image_id = image.id;
  NameImage(record, image, images->names());
  record.layers = image.layers;
  ASSIGN_OR_RETURN(ImageVolumes image_volumes, FindImageVolumes(record, pod));
  ASSIGN_OR_RETURN(const std::vector<store::VolumeHold> held_volumes, FindVolumes(record));
  container::CreateInputs inputs;
  inputs.volumes = volumes.get();
  inputs.image = image_config.get();
  inputs.pod = EnvironmentFor(pod);
  inputs.pod.target_pid_namespace = target.path;
  inputs.image_volumes = std::move(image_volumes.layers);
  ASSIGN_OR_RETURN(inputs.layer_paths, LayerPaths(image.layers, image_volumes.mounts));
  std::vector<std::string>& command = record.spec.command;
  const std::vector<std::string>& prefix = image.command_prefix;
  // One that is made again has it already.
  const bool prefixed = command.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), command.begin());
  if (!command.empty() && !prefixed) command.insert(command.begin(), prefix.begin(), prefix.end());
  ASSIGN_OR_RETURN_WITH(record.spec.stop_signal, StopSignal(record, *image_config), "image's stop signal");

  RETURN_IF_ERROR(records->Put(record));
  FaultPoint("container.create.intent");
  Result<ContainerRecord> made = containers->Create(record, inputs, Deadline::After(kVerbBudget));
  Status status = made.status();
  if (status.ok()) status = WatchExit(*made);
  if (status.ok()) {
    made->phase = Phase::kCreated;
    status = records->Put(*made);
  }
  if (status.ok()) {
    FaultPoint("container.create.created");
    return made;
  }
  return status.WithUndoError(UndoContainer(std::move(record)));
}

Status Engine::State::UndoContainer(ContainerRecord record) {
  Unwatch(record.id);
  Status undone;
  if (IsStandalone(record)) {
    undone = containers->TakeDown(record, Deadline::After(kVerbBudget));
    record.phase = record.finished_at > 0 ? Phase::kExited : Phase::kDefined;
    record.pid = 0;
    // What is left is taken down before the next run, and with the container.
    return undone.WithUndoError(records->Put(record));
  }
  undone = containers->Destroy(record, Deadline::After(kVerbBudget));
  if (undone.ok()) undone = records->Erase(record.id);
  CollectMounts();
  if (!undone.ok()) {
    record.phase = Phase::kRemoving;  // RemovePod tries again, and so does recovery
    IgnoreError(records->Put(record));
  }
  return undone;
}

Status Engine::State::StartContainerNow(const ContainerId& id) {
  ContainerPtr current = Container(id);
  if (!current) return NotFound("container " + id.str() + " not found");
  if (current->phase == Phase::kRunning) return {};
  if (current->phase != Phase::kCreated) {
    return FailedPrecondition("it is " + PhaseName(current->phase) + ", not created");
  }
  FaultPoint("container.start.begin");
  Result<monitor::State> started = containers->Start(*current, Deadline::After(kVerbBudget));
  FaultPoint("container.start.monitor");
  ContainerRecord record = *current;
  if (!started.ok()) {
    // What could not be started will never run: it ends here, with the reason where people look.
    IgnoreError(monitor::Destroy(containers->paths().Directory(id), Deadline::After(kKillBudget)));
    Unwatch(id);
    record.phase = Phase::kExited;
    record.finished_at = WallNanos();
    record.exit_code = 128;
    record.reason = "StartError";
    record.message = started.status().message();
    record.pid = 0;
    RETURN_IF_ERROR(records->Put(record));
    exits.Notify(id);
    IgnoreError(containers->CleanUp(record, Deadline::After(kKillBudget)));  // removal does it again
    return started.status();
  }
  record.phase = Phase::kRunning;
  record.started_at = started->started_at_nanos;
  if (IsStandalone(record)) {
    record.exit_code = 0;  // of the run before
    record.reason.clear();
    record.message.clear();
    record.standalone = {.restarts = record.standalone.restarts};
  }
  RETURN_IF_ERROR(records->Put(record));
  FaultPoint("container.start.running");
  writable_usage->Want(id);
  return {};
}

void Engine::State::BeginStop(const ContainerId& id, std::chrono::seconds grace, int signal, const Finish& finish) {
  ContainerPtr record = Container(id);
  if (!record || !Alive(*record)) {
    EndStop(id);
    finish(Nothing{});
    return;
  }
  FaultPoint("container.stop.begin");
  exits.Add(id, [this, id, finish] {
    EndStop(id);
    finish(Nothing{});
  });
  stops.Begin(id, [this, id, finish] {
    EndStop(id);
    finish(DeadlineExceeded("stop container " + id.Short() +
                            ": still there 30 s after SIGKILL; a process of it may be stuck in the kernel (state D)"));
  });
  bool gently = record->phase == Phase::kRunning && grace.count() > 0;
  if (record->standalone.paused) IgnoreError(PauseNow(id, false));  // what is frozen takes no signal
  if (signal == 0) signal = record->spec.stop_signal;
  Status status = gently ? containers->Signal(*record, signal, /*all=*/false) : Status();
  FaultPoint("container.stop.signalled");
  if (!status.ok()) LogWarning("container {}: stop signal: {}", id.Short(), status.message());
  if (!gently || !status.ok()) stops.Ask(id, std::chrono::steady_clock::now());
  ArmKill(id);
}

// No thread waits for the grace period: a timer does, and the exit itself ends the stop at once.
void Engine::State::ArmKill(const ContainerId& id) {
  std::optional<Stops::Time> kill_at = stops.Earlier(id);
  ContainerPtr record = Container(id);
  if (!kill_at || !record) return;
  auto now = std::chrono::steady_clock::now();
  std::optional<uint64_t> timer;
  if (*kill_at > now) {
    PodId pod = record->pod;
    timer = loop->After(*kill_at - now, [this, pod, id] { Post(pod.str(), [this, id] { KillNow(id); }); });
  }
  std::optional<uint64_t> replaced = stops.Arm(id, *kill_at, timer);
  if (replaced) loop->Remove(*replaced);
  if (!timer) KillNow(id);
}

void Engine::State::KillNow(const ContainerId& id) {
  ContainerPtr record = Container(id);
  if (!record || !Alive(*record)) return;  // its exit has been told
  if (!stops.GiveUp(id)) return;           // the stop is over, and this is its next run
  Status status = containers->Signal(*record, SIGKILL, /*all=*/true);
  // A monitor that does not answer (somebody stopped it) is ended too: its container needs no consent.
  if (status.code() == StatusCode::kDeadlineExceeded) status = Settle(id);
  if (!status.ok()) LogWarning("container {}: kill: {}", id.Short(), status.message());
  std::function<void()> give_up = stops.GiveUp(id);
  if (!give_up) return;
  std::optional<uint64_t> replaced =
      stops.Arm(id, std::chrono::steady_clock::now(), loop->After(kKillBudget, std::move(give_up)));
  if (replaced) loop->Remove(*replaced);
}

void Engine::State::EndStop(const ContainerId& id) {
  if (std::optional<uint64_t> timer = stops.End(id)) loop->Remove(*timer);
}

Status Engine::State::Settle(const ContainerId& id) {
  ContainerPtr record = Container(id);
  if (!record || !Alive(*record)) return {};
  RETURN_IF_ERROR(monitor::Destroy(containers->paths().Directory(id), Deadline::After(kKillBudget)));
  OnExit(id, std::nullopt);
  return {};
}

Status Engine::State::RemoveContainerNow(const ContainerId& id) {
  RETURN_IF_ERROR(Settle(id));
  ContainerPtr current = Container(id);
  if (!current) return {};
  ContainerRecord record = *current;
  record.phase = Phase::kRemoving;
  RETURN_IF_ERROR(records->Put(record));
  FaultPoint("container.remove.intent");
  Unwatch(id);
  RETURN_IF_ERROR(containers->Destroy(record, Deadline::After(kVerbBudget)));
  FaultPoint("container.remove.destroyed");
  RETURN_IF_ERROR(records->Erase(id));
  exits.Notify(id);
  EndStop(id);
  // Layers of an image that was removed while this container used them.
  bool image_gone = !images->Find(record.image_id).ok();
  for (const auto& [mount, volume] : record.image_volumes) image_gone |= !images->Find(volume.image_id).ok();
  CollectMounts();
  if (image_gone) IgnoreError(images->CollectLayers());
  return {};
}

Status Engine::State::WatchExit(const ContainerRecord& record) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, monitor::Watch(containers->paths().Directory(record.id)));
  int raw = fd.get();
  ContainerId id = record.id;
  PodId pod = record.pod;
  std::lock_guard lock(watches_lock);
  ASSIGN_OR_RETURN(sched::EventLoop::Token token, loop->Watch(raw, EPOLLIN, [this, raw, id, pod](uint32_t) {
    Result<std::optional<monitor::State>> news = monitor::ReadState(raw);
    std::optional<monitor::State> last;
    if (news.ok() && *news) {
      if ((*news)->phase != monitor::Phase::kExited) return;
      last = **news;
    }
    // The end, or the monitor is gone: nothing more will come.
    Unwatch(id);
    Post(pod.str(), [this, id, last] { OnExit(id, last); });
  }));
  watches[id] = {std::move(fd), token};
  return {};
}

void Engine::State::Unwatch(const ContainerId& id) {
  ExitWatch watch;
  {
    std::lock_guard lock(watches_lock);
    auto it = watches.find(id);
    if (it == watches.end()) return;
    watch = std::move(it->second);
    watches.erase(it);
  }
  loop->Remove(watch.token);  // before the descriptor closes; not under the lock its callback takes
}

void Engine::State::OnExit(const ContainerId& id, const std::optional<monitor::State>& state) {
  ContainerPtr current = Container(id);
  if (!current || !Alive(*current)) return;
  ContainerRecord record = *current;
  std::optional<monitor::ExitRecord> exit = state ? state->exit : std::nullopt;
  if (!exit) exit = monitor::ReadExitRecord(containers->paths().Directory(id));
  record.phase = Phase::kExited;
  record.pid = 0;
  record.pending_resources.reset();
  if (exit) {
    record.exit_code = exit->code;
    record.finished_at = exit->finished_at_nanos;
    if (exit->started_at_nanos > 0) record.started_at = exit->started_at_nanos;
    record.reason = exit->oom_killed ? "OOMKilled" : exit->code == 0 ? "Completed" : "Error";
  } else {
    record.exit_code = 255;
    record.finished_at = WallNanos();
    record.reason = "Error";
    record.message = "the container's monitor was killed; its exit code is lost";
  }
  if (IsStandalone(record)) record.standalone.restarting = WantsRestart(record, /*after_boot=*/false);
  Status cleaned;
  // Without a monitor nobody has seen the first process end: it must, before the record says so.
  if (!exit) cleaned = containers->CleanUp(record, Deadline::After(kKillBudget));
  counters.exits.Add();
  if (exit && exit->oom_killed) counters.oom_kills.Add();
  Status saved = records->Put(record);
  if (!saved.ok()) {
    LogError("container {}: record its exit: {}; tried again", id.Short(), saved.message());
    // It has ended, and whoever waits is told. Were davitd killed now, the exit file would say it once more.
    records->Show(record);
    WriteLater(record.pod, id);
  }
  FaultPoint("container.exit.recorded");
  exits.Notify(id);
  if (exit) cleaned = containers->CleanUp(record, Deadline::After(kKillBudget));
  if (!cleaned.ok()) LogWarning("container {}: clean up after exit: {}", id.Short(), cleaned.message());
}

void Engine::State::WriteLater(const PodId& pod, const ContainerId& id) {
  loop->After(std::chrono::seconds(5), [this, pod, id] {
    Post(pod.str(), [this, pod, id] {
      ContainerPtr record = Container(id);
      if (record && !records->Put(*record).ok()) WriteLater(pod, id);
    });
  });
}

}  // namespace davit::engine
