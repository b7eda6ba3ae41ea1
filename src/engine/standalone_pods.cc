// The verbs about standalone pods (engine/standalone.h).

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "container/standalone.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

// All that defines names is done on this one strand: two requests cannot both find a name free.
constexpr const char* kNamesStrand = "standalone names";

bool Runs(const container::ContainerRecord& record) {
  return record.phase == container::Phase::kRunning || record.phase == container::Phase::kCreated;
}

}  // namespace

void Engine::State::NamedPodVerb(const std::string& text, const std::string& verb,
                                 std::function<void(const PodId&, const Finish&)> now, Done<Nothing> done) {
  Result<PodPtr> pod = View().FindNamedPod(text);
  if (!pod.ok()) return done(pod.status());
  if (!IsStandalone(**pod)) return done(PermissionDenied("pod " + (*pod)->id.Short() + " is the kubelet's"));
  PodId id = (*pod)->id;
  verbs.Join(
      verb + " standalone pod " + id.str(), std::move(done), [this, id, verb, now = std::move(now)](auto finish) {
        Post(id.str(), [id, verb, now, finish] {
          now(id, [id, verb, finish](const Result<Nothing>& result) {
            finish(result.ok() ? result : Result<Nothing>(result.status().Annotate(verb + " pod " + id.Short())));
          });
        });
      });
}

void Engine::DefinePod(pod::PodSpec spec, Done<PodId> done) {
  State* state = state_.get();
  state->Post(kNamesStrand, [state, spec = std::move(spec), done = std::move(done)] {
    Result<PodId> id = state->DefinePodNow(spec);
    done(id.ok() ? id : Result<PodId>(id.status().Annotate("create pod " + Printable(spec.name))));
  });
}

Result<PodId> Engine::State::DefinePodNow(const pod::PodSpec& spec) {
  const SnapshotPtr view = View();
  if (!spec.implicit) {
    RETURN_IF_ERROR(container::ValidateName(spec.name, "name"));
    for (const auto& [id, other] : view->pods()) {
      if (IsStandalone(*other) && !other->spec.implicit && other->spec.name == spec.name) {
        return AlreadyExists("the name \"" + spec.name + "\" is in use by pod " + id.str());
      }
    }
  }
  pod::PodRecord record;
  record.version = pod::kPodRecordVersion;
  record.id = PodId::Mint();
  record.phase = pod::Phase::kDefined;
  record.boot_id = boot_id;
  record.spec = spec;
  record.spec.standalone = true;
  if (record.spec.uid.empty()) record.spec.uid = record.id.str();
  record.created_at = WallNanos();
  record.runtime_handler = spec.runtime_handler.empty() ? config.runtime.default_handler : spec.runtime_handler;
  if (containers->Handler(record.runtime_handler) == nullptr) {
    return InvalidArgument("runtime handler \"" + Printable(record.runtime_handler) + "\" is not configured");
  }
  if (spec.has_user_namespace()) RETURN_IF_ERROR(CheckUserNamespaces(record.runtime_handler));
  RETURN_IF_ERROR(sandboxes->Validate(record.spec));
  RETURN_IF_ERROR(SettleNetworks(record.spec));
  RETURN_IF_ERROR(records->Put(record));
  FaultPoint("standalone.pod.defined");
  return record.id;
}

void Engine::StartPod(const std::string& text, Done<bool> done) {
  State* state = state_.get();
  auto started = std::make_shared<bool>(false);
  state->NamedPodVerb(
      text, "start",
      [state, started](const PodId& id, const State::Finish& finish) {
        Result<bool> result = state->StartPodNow(id);
        *started = result.value_or(false);
        finish(ToResult(result.status()));
      },
      [started, done = std::move(done)](const Result<Nothing>& result) {
        done(result.ok() ? Result<bool>(*started) : Result<bool>(result.status()));
      });
}

Result<bool> Engine::State::StartPodNow(const PodId& id) {
  using pod::Phase;
  PodPtr current = Pod(id);
  if (!current) return NotFound("pod " + id.str() + " not found");
  if (current->phase == Phase::kReady) {
    if (current->boot_id == boot_id && sandboxes->Alive(*current)) return false;
    RETURN_IF_ERROR(StopPodNow(id));
  }
  if (current->phase == Phase::kRemoving) return FailedPrecondition("it is being removed");
  if (current->phase == Phase::kStopping) RETURN_IF_ERROR(StopPodNow(id));
  pod::PodRecord record = *Pod(id);
  // Files and mounts of the run before, and a network that could not be taken away then.
  if (record.started_at > 0 || !record.attachment.empty()) {
    RETURN_IF_ERROR(sandboxes->Destroy(record, Deadline::After(kVerbBudget)).Annotate("take down the run before"));
  }
  record.phase = Phase::kCreating;
  record.boot_id = boot_id;
  pod::ClearAttachment(record);
  record.init_pid = 0;
  RETURN_IF_ERROR(PlanModules(record));
  const std::string level = record.selinux_level;
  Result<pod::PodRecord> planned = sandboxes->Plan(record);
  Status put = planned.ok() ? records->Put(*planned) : planned.status();
  if (!level.empty()) {
    std::lock_guard lock(levels_lock);
    levels_picked.erase(level);
  }
  RETURN_IF_ERROR(put);
  FaultPoint("pod.run.intent");
  RETURN_IF_ERROR(MakePod(*planned).status());
  return true;
}

void Engine::StopStandalonePod(const std::string& text, std::optional<std::chrono::seconds> grace, Done<bool> done) {
  State* state = state_.get();
  Result<PodPtr> found = state->View().FindNamedPod(text);
  if (!found.ok()) return done(found.status());
  if (!IsStandalone(**found)) return done(PermissionDenied("pod " + (*found)->id.Short() + " is the kubelet's"));
  const PodId id = (*found)->id;
  const bool ready = (*found)->phase == pod::Phase::kReady;
  // The containers' graces run side by side; the pod goes after the last one.
  struct Gathering {
    std::mutex mutex;
    size_t left = 1;
    Status status;
  };
  auto gathering = std::make_shared<Gathering>();
  auto one = [state, id, ready, gathering, done](const Status& status) {
    Status said;
    {
      std::lock_guard lock(gathering->mutex);
      if (gathering->status.ok()) gathering->status = status;
      if (--gathering->left > 0) return;
      said = gathering->status;
    }
    if (!said.ok()) return done(said);
    state->NamedPodVerb(
        id.str(), "stop",
        [state](const PodId& pod, const State::Finish& finish) { finish(ToResult(state->StopPodNow(pod))); },
        [ready, done](const Result<Nothing>& result) {
          done(result.ok() ? Result<bool>(ready) : Result<bool>(result.status()));
        });
  };
  for (const ContainerPtr& record : state->View().ContainersOf(id)) {
    if (!Runs(*record) && !record->standalone.restarting) continue;
    {
      std::lock_guard lock(gathering->mutex);
      ++gathering->left;
    }
    StopStandalone(record->id.str(), grace, 0, [one](const Result<bool>& result) { one(result.status()); });
  }
  one({});
}

void Engine::RemoveStandalonePod(const std::string& text, bool force, Done<std::vector<std::string>> done) {
  State* state = state_.get();
  auto removed = std::make_shared<std::vector<std::string>>();
  state->NamedPodVerb(
      text, "remove",
      [state, force, removed](const PodId& id, const State::Finish& finish) {
        const std::vector<ContainerPtr> containers = state->View().ContainersOf(id);
        const auto running = std::find_if(containers.begin(), containers.end(), [](const ContainerPtr& record) {
          return record->phase == container::Phase::kRunning;
        });
        if (running != containers.end() && !force) {
          return finish(FailedPrecondition("container " + (*running)->id.Short() + " (" + (*running)->spec.name +
                                           ") is running: stop it, or force the removal"));
        }
        for (const ContainerPtr& record : containers) removed->push_back(record->id.str());
        finish(ToResult(state->RemovePodNow(id)));
      },
      [removed, done = std::move(done)](const Result<Nothing>& result) {
        done(result.ok() ? Result<std::vector<std::string>>(*removed)
                         : Result<std::vector<std::string>>(result.status()));
      });
}

}  // namespace davit::engine
