// The verbs about standalone containers, and what follows from the end of a run (engine/standalone.h).

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "container/resources.h"
#include "container/standalone.h"
#include "engine/state.h"
#include "sys/freezer.h"
#include "sys/systemd_names.h"

namespace davit::engine {
namespace {

using container::ContainerRecord;
using container::Phase;

constexpr const char* kNamesStrand = "standalone names";
constexpr std::chrono::seconds kDefaultGrace{10};
constexpr std::chrono::seconds kForEver{31'536'000};
constexpr std::chrono::minutes kPreparedFor{1};
constexpr std::chrono::seconds kLongRun{10};  // a run of this length begins the delays anew

bool Down(const ContainerRecord& record) { return record.phase == Phase::kExited || record.phase == Phase::kDefined; }

std::chrono::seconds GraceOf(const ContainerRecord& record) {
  const std::optional<int64_t> own = record.spec.standalone ? record.spec.standalone->stop_timeout : std::nullopt;
  if (!own) return kDefaultGrace;
  return *own < 0 ? kForEver : std::chrono::seconds(std::min<int64_t>(*own, kForEver.count()));
}

Status CheckName(const Snapshot& view, const std::string& name, const std::string& except) {
  RETURN_IF_ERROR(container::ValidateName(name, "name"));
  for (const auto& [id, other] : view.containers()) {
    if (IsStandalone(*other) && other->spec.name == name && id.str() != except) {
      return AlreadyExists("the name \"" + name + "\" is in use by container " + id.str());
    }
  }
  return {};
}

// Shells' words for what the runtime says: 127 is not there, 126 cannot be run.
int StartExitCode(const std::string& message) {
  for (const char* absent : {"not found", "no such file", "No such file"}) {
    if (message.find(absent) != std::string::npos) return 127;
  }
  for (const char* refused :
       {"permission denied", "Permission denied", "exec format", "is a directory", "peration not permitted"}) {
    if (message.find(refused) != std::string::npos) return 126;
  }
  return 128;
}

}  // namespace

void Engine::State::NamedContainerVerb(const std::string& text, const std::string& verb,
                                       std::function<void(const ContainerId&, const Finish&)> now, Done<Nothing> done) {
  Result<ContainerPtr> found = View().FindNamedContainer(text);
  if (!found.ok()) return done(found.status());
  ContainerId id = (*found)->id;
  if (!IsStandalone(**found)) return done(PermissionDenied("container " + id.Short() + " is the kubelet's"));
  verbs.Join(
      verb + " standalone container " + id.str(), std::move(done),
      [this, id, verb, pod = (*found)->pod, now = std::move(now)](auto finish) {
        Post(pod.str(), [id, verb, now, finish] {
          now(id, [id, verb, finish](const Result<Nothing>& result) {
            finish(result.ok() ? result : Result<Nothing>(result.status().Annotate(verb + " container " + id.Short())));
          });
        });
      });
}

// ---- Define ----

void Engine::DefineContainer(ContainerDefinition definition, Done<DefinedContainer> done) {
  State* state = state_.get();
  state->Post(kNamesStrand, [state, definition = std::move(definition), done = std::move(done)] {
    const std::string name = definition.spec.name;
    Result<DefinedContainer> made = state->DefineContainerNow(definition);
    done(made.ok() ? made : Result<DefinedContainer>(made.status().Annotate("create container " + Printable(name))));
  });
}

Result<DefinedContainer> Engine::State::DefineContainerNow(ContainerDefinition definition) {
  container::ContainerSpec& spec = definition.spec;
  if (!spec.standalone) return InvalidArgument("options are missing");
  RETURN_IF_ERROR(CheckName(*View(), spec.name, ""));
  RETURN_IF_ERROR(container::ValidateStandalone(*spec.standalone));
  // The image that the name means now: a later pull under it changes nothing here.
  const std::string asked = spec.image.image;
  ASSIGN_OR_RETURN(image::ImageRecord image, images->Resolve(asked));
  image::LayerHold hold = images->Hold(image.layers);
  ASSIGN_OR_RETURN(image, images->Find(image.id));
  if (!image.artifact_type.empty()) {
    return InvalidArgument("\"" + Printable(asked) + "\" is an OCI artifact, which has no program to run");
  }
  if (spec.image.user_specified_image.empty()) spec.image.user_specified_image = asked;
  spec.image.image = image.id;
  ASSIGN_OR_RETURN(std::shared_ptr<const oci::ImageConfig> image_config, images->Config(image));
  ASSIGN_OR_RETURN(DefinedVolumes defined_volumes, DefineVolumes(*image_config, spec));
  ASSIGN_OR_RETURN(DefinedContainer made, RecordDefinition(definition, image));
  // After the record that names them: whoever is killed here leaves no volume that nobody knows.
  for (const std::string& name : defined_volumes.made) {
    store::VolumeRecord request;
    request.name = name;
    request.anonymous = IsFullId(name);
    Result<std::pair<store::VolumeRecord, bool>> volume = volumes->Create(std::move(request));
    if (!volume.ok()) return volume.status().WithUndoError(RemoveStandaloneNow(made.id, true, true));
    if (volume->second) activity.Add({"volume", "create", name, 0, {{"driver", "local"}}, true});
  }
  return made;
}

Result<DefinedContainer> Engine::State::RecordDefinition(ContainerDefinition& definition,
                                                         const image::ImageRecord& image) {
  container::ContainerSpec& spec = definition.spec;

  DefinedContainer made;
  const bool own_pod = definition.pod.empty();
  if (own_pod) {
    if (!definition.own_pod) return InvalidArgument("neither a pod nor its configuration is given");
    definition.own_pod->implicit = true;
    definition.own_pod->name = spec.name;
    ASSIGN_OR_RETURN(made.pod, DefinePodNow(*definition.own_pod));
  } else {
    ASSIGN_OR_RETURN(PodPtr pod, View().FindNamedPod(definition.pod));
    if (!IsStandalone(*pod)) return PermissionDenied("pod " + pod->id.Short() + " is the kubelet's");
    if (pod->phase == pod::Phase::kRemoving) return FailedPrecondition("pod " + pod->id.Short() + " is being removed");
    made.pod = pod->id;
  }
  made.id = ContainerId::Mint();
  ContainerRecord record;
  record.version = container::kContainerRecordVersion;
  record.id = made.id;
  record.pod = made.pod;
  record.phase = Phase::kDefined;
  record.boot_id = boot_id;
  record.image_id = image.id;
  record.layers = image.layers;
  record.created_at = WallNanos();
  spec.log_path = "output.log";
  record.log_path = rootfs->LogPath(record.id);
  record.spec = std::move(spec);
  PodPtr pod = Pod(made.pod);
  record.runtime_handler = pod->runtime_handler;
  Status status = container::ValidateResources(record.spec.resources, containers->options().node.cgroups);
  // Of the pod as it will be: whether it can be made shows at the start.
  container::PodEnvironment environment = EnvironmentFor(*pod);
  environment.target_pid_namespace = "later";
  const container::RuntimeEntry* handler = containers->Handler(pod->runtime_handler);
  const bool recursive_read_only = handler != nullptr && handler->features.recursive_read_only_mounts;
  if (status.ok()) status = container::ValidateSpec(record.spec, environment, recursive_read_only);
  if (status.ok()) status = records->Put(record);
  if (!status.ok()) return own_pod ? status.WithUndoError(records->Erase(made.pod)) : status;
  FaultPoint("standalone.container.defined");
  return made;
}

// ---- Start ----

void Engine::PrepareContainer(const std::string& text, Done<Nothing> done) {
  State* state = state_.get();
  state->NamedContainerVerb(
      text, "prepare",
      [state](const ContainerId& id, const State::Finish& finish) { finish(ToResult(state->PrepareNow(id))); },
      std::move(done));
}

Status Engine::State::PrepareNow(const ContainerId& id) {
  ContainerPtr current = Container(id);
  if (!current) return NotFound("container " + id.str() + " not found");
  if (current->phase == Phase::kCreated || current->phase == Phase::kRunning) return {};
  if (!Down(*current)) return FailedPrecondition("it is being made or removed");
  RETURN_IF_ERROR(StartPodNow(current->pod).status().Annotate("start its pod"));
  PodPtr pod = Pod(current->pod);
  ContainerRecord record = *current;
  // What its last run left of the running node: the monitor with the exit code, mounts, the bundle.
  std::error_code ignored;
  if (std::filesystem::exists(containers->paths().Directory(id), ignored)) {
    RETURN_IF_ERROR(containers->TakeDown(record, Deadline::After(kVerbBudget)).Annotate("take down the run before"));
  }
  ASSIGN_OR_RETURN(Target target, FindTarget(pod->id, record.spec.security.namespaces));
  record.phase = Phase::kCreating;
  record.boot_id = boot_id;
  record.cgroup = sys::ChildCgroup(pod->cgroup, "davit-" + id.str());
  record.pid = 0;
  Result<ContainerRecord> made = MakeContainer(std::move(record), *pod, target);
  if (!made.ok()) {
    ContainerPtr left = Container(id);
    if (left && Down(*left)) {
      ContainerRecord failed = *left;
      NoteFailedStart(failed, made.status());
    }
    // The image's program, or what it is asked to be: a matter of what was defined, not of this call or of davitd.
    const bool of_definition = made.code() == StatusCode::kInternal || made.code() == StatusCode::kInvalidArgument;
    return of_definition ? FailedPrecondition(made.status().message()) : made.status();
  }
  loop->After(kPreparedFor, [this, id, pod = current->pod] { Post(pod.str(), [this, id] { TakeDownUnstarted(id); }); });
  return {};
}

void Engine::State::NoteFailedStart(container::ContainerRecord record, const Status& why) {
  record.standalone.error = why.message();
  record.standalone.stopped = true;  // who asked for it has heard; nobody else tries again
  record.standalone.restarting = false;
  record.exit_code = StartExitCode(record.standalone.error);
  IgnoreError(records->Put(record));
  Post(record.pod.str(), [this, id = record.id] { AfterRun(id); });
}

void Engine::State::TakeDownUnstarted(const ContainerId& id) {
  ContainerPtr record = Container(id);
  if (!record || record->phase != Phase::kCreated) return;
  LogInfo("container {}: prepared and never started: taken down", id.Short());
  if (Status undone = UndoContainer(*record); !undone.ok()) {
    LogWarning("container {}: take down: {}", id.Short(), undone.message());
  }
  AfterRun(id);
}

void Engine::StartStandalone(const std::string& text, Done<bool> done) {
  State* state = state_.get();
  auto started = std::make_shared<bool>(false);
  state->NamedContainerVerb(
      text, "start",
      [state, started](const ContainerId& id, const State::Finish& finish) {
        Result<bool> result = state->StartStandaloneNow(id);
        *started = result.value_or(false);
        finish(ToResult(result.status()));
      },
      [started, done = std::move(done)](const Result<Nothing>& result) {
        done(result.ok() ? Result<bool>(*started) : Result<bool>(result.status()));
      });
}

Result<bool> Engine::State::StartStandaloneNow(const ContainerId& id) {
  ContainerPtr current = Container(id);
  if (current && current->phase == Phase::kRunning) return false;
  const int64_t ended_before = current ? current->finished_at : 0;
  RETURN_IF_ERROR(PrepareNow(id));
  Status started = StartContainerNow(id);
  if (started.ok()) return true;
  current = Container(id);
  if (!current || current->phase != Phase::kExited) return started;
  ContainerRecord failed = *current;
  failed.finished_at = ended_before;
  if (ended_before == 0) failed.phase = Phase::kDefined;  // it has never run
  NoteFailedStart(failed, started);
  return FailedPrecondition(started.message());
}

// ---- Stop, kill, pause ----

void Engine::StopStandalone(const std::string& text, std::optional<std::chrono::seconds> grace, int signal,
                            Done<bool> done) {
  State* state = state_.get();
  Result<ContainerPtr> found = state->View().FindNamedContainer(text);
  if (!found.ok()) return done(found.status());
  const ContainerId id = (*found)->id;
  if (!IsStandalone(**found)) return done(PermissionDenied("container " + id.Short() + " is the kubelet's"));
  std::chrono::seconds patience = grace.value_or(GraceOf(**found));
  if (patience.count() < 0 || patience > kForEver) patience = kForEver;
  const bool ran = (*found)->phase == Phase::kRunning;
  if (ran) state->stops.Ask(id, std::chrono::steady_clock::now() + patience);
  state->NamedContainerVerb(
      id.str(), "stop",
      [state, patience, signal](const ContainerId& stopped, const State::Finish& finish) {
        ContainerPtr record = state->Container(stopped);
        if (!record) return finish(Nothing{});
        ContainerRecord resting = *record;
        resting.standalone.stopped = true;
        resting.standalone.restarting = false;
        if (Status put = state->records->Put(resting); !put.ok()) return finish(put);
        if (record->standalone.restarting) state->AfterRun(stopped);
        state->BeginStop(stopped, patience, signal, finish);
      },
      [state, ran, id, done = std::move(done)](const Result<Nothing>& result) {
        if (result.ok() && ran) {
          if (ContainerPtr record = state->Container(id)) {
            state->activity.Add({"container", "stop", id.str(), 0, AttributesOf(*record), true});
          }
        }
        done(result.ok() ? Result<bool>(ran) : Result<bool>(result.status()));
      });
  // A stop that was under way before hears of the shorter grace only here.
  if (ran) state->Post((*found)->pod.str(), [state, id] { state->ArmKill(id); });
}

void Engine::KillContainer(const std::string& text, int signal, Done<Nothing> done) {
  State* state = state_.get();
  Result<ContainerPtr> found = state->View().FindNamedContainer(text);
  if (!found.ok()) return done(found.status());
  const ContainerId id = (*found)->id;
  if (!IsStandalone(**found)) return done(PermissionDenied("container " + id.Short() + " is the kubelet's"));
  // Not joined: two signals are two.
  state->Post((*found)->pod.str(), [state, id, signal, done = std::move(done)] {
    ContainerPtr record = state->Container(id);
    if (!record || record->phase != Phase::kRunning) {
      return done(FailedPrecondition("container " + id.str() + " is not running"));
    }
    // Whoever ends it so wants it to be gone, as with a stop: Docker's rule for both.
    ContainerRecord resting = *record;
    resting.standalone.stopped = record->standalone.stopped || signal == SIGKILL || signal == record->spec.stop_signal;
    Status status;
    if (resting.standalone.stopped != record->standalone.stopped) status = state->records->Put(resting);
    if (status.ok()) status = state->containers->Signal(*record, signal, /*all=*/false);
    if (status.ok()) {
      Activity killed{"container", "kill", id.str(), 0, AttributesOf(*record), true};
      killed.attributes["signal"] = std::to_string(signal);
      state->activity.Add(std::move(killed));
    }
    if (status.ok() && record->standalone.paused && signal == SIGKILL) status = state->PauseNow(id, false);
    done(ToResult(status.Annotate("kill container " + id.Short())));
  });
}

void Engine::PauseContainer(const std::string& text, bool pause, Done<Nothing> done) {
  State* state = state_.get();
  state->NamedContainerVerb(
      text, pause ? "pause" : "unpause",
      [state, pause](const ContainerId& id, const State::Finish& finish) {
        ContainerPtr record = state->Container(id);
        if (!record || record->phase != Phase::kRunning) return finish(FailedPrecondition("it is not running"));
        if (record->standalone.paused == pause) {
          return finish(FailedPrecondition(pause ? "it is paused already" : "it is not paused"));
        }
        finish(ToResult(state->PauseNow(id, pause)));
      },
      std::move(done));
}

Status Engine::State::PauseNow(const ContainerId& id, bool pause) {
  ContainerPtr record = Container(id);
  if (!record) return NotFound("container " + id.str() + " not found");
  const Deadline deadline = Deadline::After(std::chrono::seconds(10));
  RETURN_IF_ERROR(pause ? sys::FreezeCgroup(cgroups, record->cgroup, deadline)
                        : sys::ThawCgroup(cgroups, record->cgroup, deadline));
  ContainerRecord changed = *record;
  changed.standalone.paused = pause;
  return records->Put(changed);
}

// ---- Change, remove ----

void Engine::RenameContainer(const std::string& text, const std::string& name, Done<Nothing> done) {
  State* state = state_.get();
  // First the strand of the names, then the pod's: the record has one writer at a time.
  state->Post(kNamesStrand, [state, text, name, done = std::move(done)] {
    Result<ContainerPtr> found = state->View().FindNamedContainer(text);
    Status status = found.status();
    if (status.ok()) status = CheckName(*state->View(), name, (*found)->id.str());
    if (!status.ok()) return done(status.Annotate("rename container"));
    state->NamedContainerVerb((*found)->id.str(), "rename",
                              [state, name](const ContainerId& id, const State::Finish& finish) {
                                ContainerPtr record = state->Container(id);
                                if (!record) return finish(NotFound("container " + id.str() + " not found"));
                                ContainerRecord renamed = *record;
                                renamed.spec.name = name;
                                finish(ToResult(state->records->Put(renamed)));
                              },
                              done);
  });
}

void Engine::UpdateStandalone(const std::string& text, std::optional<sys::Resources> resources,
                              std::optional<container::RestartPolicy> restart, Done<Nothing> done) {
  State* state = state_.get();
  state->NamedContainerVerb(
      text, "update",
      [state, resources, restart](const ContainerId& id, const State::Finish& finish) {
        ContainerPtr record = state->Container(id);
        if (!record) return finish(NotFound("container " + id.str() + " not found"));
        ContainerRecord changed = *record;
        if (restart) changed.spec.standalone->restart = *restart;
        Status status = container::ValidateStandalone(*changed.spec.standalone);
        const bool alive = !Down(*record);
        if (status.ok() && resources && !alive) {
          changed.spec.resources = sys::MergeResources(changed.spec.resources, *resources);
          status = container::ValidateResources(changed.spec.resources, state->containers->options().node.cgroups);
        }
        if (status.ok()) status = state->records->Put(changed);
        if (status.ok() && resources && alive) status = state->UpdateContainerNow(id, *resources);
        finish(ToResult(status));
      },
      std::move(done));
}

void Engine::RemoveStandalone(const std::string& text, bool force, bool volumes, Done<Nothing> done) {
  State* state = state_.get();
  state->NamedContainerVerb(
      text, "remove",
      [state, force, volumes](const ContainerId& id, const State::Finish& finish) {
        finish(ToResult(state->RemoveStandaloneNow(id, force, volumes)));
      },
      std::move(done));
}

Status Engine::State::RemoveStandaloneNow(const ContainerId& id, bool force, bool volumes_too) {
  ContainerPtr record = Container(id);
  if (!record) return {};
  if (record->phase == Phase::kRunning && !force) {
    return FailedPrecondition("it is running: stop it, or force the removal");
  }
  if (record->standalone.paused) IgnoreError(PauseNow(id, false));
  const PodId pod_id = record->pod;
  PodPtr pod = Pod(pod_id);
  RETURN_IF_ERROR(RemoveContainerNow(id));
  FaultPoint("standalone.container.removed");
  if (volumes_too) RemoveAnonymousVolumes(*record);
  if (pod && pod->spec.implicit && View().ContainersOf(pod_id).empty()) return RemovePodNow(pod_id);
  return {};
}

// ---- After a run ----

void Engine::State::OnContainerChange(const ContainerPtr& before, const ContainerPtr& now) {
  waits.Note(before, now);
  if (before && before->phase == Phase::kRunning && !(now && now->phase == Phase::kRunning)) {
    cgroup_stats->Forget(before->cgroup);
  }
  if (!before || !now || !IsStandalone(*now)) return;
  const bool runs = now->phase == Phase::kRunning;
  if (runs && before->phase != Phase::kRunning && now->spec.standalone->health) {
    health_checks->Begin(now->id, *now->spec.standalone->health);
  }
  if (!runs && before->phase == Phase::kRunning) health_checks->End(now->id);
  const bool ended = !Down(*before) && now->phase == Phase::kExited;
  if (ended) Post(now->pod.str(), [this, id = now->id] { AfterRun(id); });
}

void Engine::State::AfterRun(const ContainerId& id) {
  ContainerPtr record = Container(id);
  if (!record || !Down(*record)) return;
  if (record->standalone.restarting) return PlanRestart(*record);
  if (record->standalone.paused) {
    ContainerRecord awake = *record;
    awake.standalone.paused = false;
    IgnoreError(records->Put(awake));
    record = Container(id);
  }
  if (record->spec.standalone->auto_remove) {
    Status removed = RemoveStandaloneNow(id, /*force=*/true, /*volumes=*/true);
    if (!removed.ok()) LogWarning("container {}: automatic removal: {}", id.Short(), removed.message());
    return;
  }
  PodPtr pod = Pod(record->pod);
  if (!pod || !pod->spec.implicit) return;
  // Its network and namespaces were for this run.
  const std::vector<ContainerPtr> others = View().ContainersOf(pod->id);
  if (!std::all_of(others.begin(), others.end(), [](const ContainerPtr& other) { return Down(*other); })) return;
  if (Status stopped = StopPodNow(pod->id); !stopped.ok()) {
    LogWarning("pod {}: stop after its container: {}", pod->id.Short(), stopped.message());
  }
}

void Engine::State::PlanRestart(const ContainerRecord& record) {
  const auto ran = std::chrono::nanoseconds(record.finished_at - record.started_at);
  const std::chrono::milliseconds delay = RestartDelay(ran >= kLongRun ? 0 : record.standalone.restarts);
  loop->After(delay, [this, id = record.id, pod = record.pod] { Post(pod.str(), [this, id] { RestartNow(id); }); });
}

void Engine::State::RestartNow(const ContainerId& id) {
  ContainerPtr current = Container(id);
  if (!current || !current->standalone.restarting || !Down(*current)) return;
  // It stays marked until it runs: nobody who waits for its end takes this for it.
  ContainerRecord record = *current;
  ++record.standalone.restarts;
  Status status = records->Put(record);
  if (status.ok()) status = StartStandaloneNow(id).status();
  if (status.ok()) return;
  LogWarning("container {}: start it again: {}", id.Short(), status.message());
  current = Container(id);
  if (!current || current->phase != Phase::kExited) return;
  record = *current;
  record.standalone.stopped = false;  // nobody has
  record.standalone.restarting = WantsRestart(record, /*after_boot=*/false);
  IgnoreError(records->Put(record));
  if (record.standalone.restarting) PlanRestart(record);
}

void Engine::State::ResumeStandalone(const ContainerId& id, const std::string& boot_before) {
  ContainerPtr record = Container(id);
  if (!record) return;
  if (record->phase == Phase::kCreated) {
    loop->After(kPreparedFor,
                [this, id, pod = record->pod] { Post(pod.str(), [this, id] { TakeDownUnstarted(id); }); });
    return;
  }
  if (record->phase == Phase::kRunning && record->spec.standalone->health) {
    health_checks->Begin(id, *record->spec.standalone->health);
  }
  if (record->phase != Phase::kExited) return;
  if (!record->standalone.restarting && boot_before != boot_id && WantsRestart(*record, /*after_boot=*/true)) {
    ContainerRecord again = *record;
    again.standalone.restarting = true;
    IgnoreError(records->Put(again));
  }
  Post(record->pod.str(), [this, id] { AfterRun(id); });
}

// ---- Health ----

void Engine::State::MakeHealthChecks() {
  HealthChecks::Options options;
  options.loop = loop.get();
  options.run = [this](const ContainerId& id, const std::vector<std::string>& command, std::chrono::nanoseconds timeout,
                       const HealthChecks::Answer& answer) {
    ContainerPtr record = Container(id);
    if (!record || record->phase != Phase::kRunning) return answer({-1, "the container does not run"});
    if (record->standalone.paused) return answer({0, "paused: not checked"});
    // ExecSync counts seconds.
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(timeout);
    sync_execs->Run(
        id, command[0], seconds,
        [this, record, command](Deadline deadline) { return BeginExecSync(*record, command, deadline); },
        [answer](const Result<ExecOutput>& output) {
          if (output.ok()) return answer({output->exit_code, output->out + output->err});
          answer({-1, output.status().message()});
        });
  };
  options.on_change = [this](const ContainerId& id, const std::string& status) { OnHealth(id, status); };
  health_checks = std::make_unique<HealthChecks>(std::move(options));
}

void Engine::State::OnHealth(const ContainerId& id, const std::string& status) {
  ContainerPtr record = Container(id);
  if (!record || !record->spec.standalone || !record->spec.standalone->health) return;
  activity.Add({"container", "health_status: " + status, id.str(), 0, AttributesOf(*record), true});
  if (status == "healthy") waits.NoteHealthy(id);
  const std::string& action = record->spec.standalone->health->on_failure;
  if (status != "unhealthy" || action.empty() || action == "none") return;
  Post(record->pod.str(), [this, id, action] {
    ContainerPtr unhealthy = Container(id);
    if (!unhealthy || unhealthy->phase != Phase::kRunning) return;
    ContainerRecord changed = *unhealthy;
    changed.standalone.stopped = action == "stop";
    IgnoreError(records->Put(changed));
    const std::chrono::seconds grace = action == "kill" ? std::chrono::seconds(0) : GraceOf(changed);
    stops.Ask(id, std::chrono::steady_clock::now() + grace);
    BeginStop(id, grace, 0, [this, id, action, pod = changed.pod](const Result<Nothing>&) {
      if (action != "restart") return;
      Post(pod.str(), [this, id] { IgnoreError(StartStandaloneNow(id).status()); });
    });
  });
}

Health Engine::HealthOf(const ContainerId& id) const { return state_->health_checks->Get(id); }

void Engine::CheckHealth(const std::string& text, Done<Health> done) {
  Result<ContainerPtr> record = View().FindNamedContainer(text);
  if (!record.ok()) return done(record.status());
  state_->health_checks->CheckNow((*record)->id, std::move(done));
}

// ---- Waiting, looking ----

std::string Engine::WritableDirectory(const ContainerId& id) const { return state_->rootfs->UpperDir(id); }

Result<Waits::Token> Engine::WaitContainer(const std::string& text, WaitCondition condition, Waits::Waiter waiter) {
  Result<ContainerPtr> found = View().FindNamedContainer(text);
  if (!found.ok()) {
    const std::optional<WaitOutcome> gone = state_->waits.Gone(text);
    if (!gone) return found.status();
    waiter(*gone);
    return Waits::Token{0};
  }
  const Waits::Token token = state_->waits.Add(*found, condition, std::move(waiter));
  state_->waits.Recheck(token, *found, state_->Container((*found)->id));  // a change between the look and the wait
  return token;
}

void Engine::CancelWait(Waits::Token token) { state_->waits.Cancel(token); }

Result<std::vector<int64_t>> Engine::Processes(const std::string& text) {
  ASSIGN_OR_RETURN(ContainerPtr record, View().FindNamedContainer(text));
  if (record->phase != Phase::kRunning) return FailedPrecondition("container " + record->id.str() + " is not running");
  ASSIGN_OR_RETURN(std::vector<pid_t> pids, sys::ListProcesses(state_->cgroups, record->cgroup));
  return std::vector<int64_t>(pids.begin(), pids.end());
}

}  // namespace davit::engine
