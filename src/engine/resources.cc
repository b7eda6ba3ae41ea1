// Limits of containers and pods that change while they run.
//
// Order: record with the pending limits | cgroup, all or none | record with the new limits. A failure takes
// the pending ones out of the record again. After SIGKILL in between the record still has them: recovery
// applies them, and if that fails the old ones, so that record and cgroup agree in any case.

#include "container/resources.h"

#include "base/fault.h"
#include "base/log.h"
#include "engine/state.h"
#include "pod/resources.h"

namespace davit::engine {
namespace {

// Equal requests join (ARCHITECTURE.md, invariant 2).
std::string Digest(const std::string& text) { return std::to_string(std::hash<std::string>()(text)); }

bool HasCgroup(const container::ContainerRecord& record) {
  return record.phase == container::Phase::kCreated || record.phase == container::Phase::kRunning;
}

}  // namespace

void Engine::UpdateContainer(const std::string& text, sys::Resources change, Done<Nothing> done) {
  State* state = state_.get();
  const std::string verb = "update #" + Digest(container::ToText(change));
  state->ContainerVerb(
      text, verb, State::Unknown::kIsError,
      [state, change = std::move(change)](const ContainerId& id, const State::Finish& finish) {
        finish(ToResult(state->UpdateContainerNow(id, change).Annotate("update container " + id.Short())));
      },
      std::move(done));
}

Status Engine::State::UpdateContainerNow(const ContainerId& id, const sys::Resources& change) {
  ContainerPtr current = Container(id);
  if (!current) return NotFound("container " + id.str() + " not found");
  if (!HasCgroup(*current)) return FailedPrecondition("it is neither created nor running: no limit can take effect");
  const sys::Resources wanted = sys::MergeResources(current->spec.resources, change);
  sys::Resources checked = wanted;
  checked.oom_score_adj = change.oom_score_adj;  // not taken over, and still not to be nonsense
  RETURN_IF_ERROR(container::ValidateResources(checked, containers->options().node.cgroups));

  container::ContainerRecord record = *current;
  FaultPoint("container.update.begin");
  record.pending_resources = wanted;
  RETURN_IF_ERROR(records->Put(record));
  FaultPoint("container.update.intent");
  Status applied = containers->ApplyResources(record, wanted);
  FaultPoint("container.update.applied");
  record.pending_resources.reset();
  if (applied.ok()) record.spec.resources = wanted;
  Status recorded = records->Put(record);
  FaultPoint("container.update.recorded");
  if (!applied.ok()) return applied.WithUndoError(recorded);
  if (recorded.ok()) return {};
  // The old limits are what is on record: back to them.
  return recorded.WithUndoError(containers->ApplyResources(record, current->spec.resources));
}

Status Engine::State::SettleUpdate(const ContainerId& id) {
  ContainerPtr current = Container(id);
  if (!current || !current->pending_resources) return {};
  container::ContainerRecord record = *current;
  record.pending_resources.reset();
  Status settled;
  if (HasCgroup(record)) {
    settled = containers->ApplyResources(record, *current->pending_resources);
    if (settled.ok()) {
      record.spec.resources = *current->pending_resources;
    } else {
      settled = settled.WithUndoError(containers->ApplyResources(record, record.spec.resources));
    }
  }
  if (!settled.ok()) LogWarning("container {}: finish an update of its limits: {}", id.Short(), settled.message());
  return records->Put(record);
}

void Engine::UpdatePod(const std::string& text, PodResourcesChange change, Done<Nothing> done) {
  State* state = state_.get();
  Result<PodPtr> pod = state->View().FindPod(text);
  if (!pod.ok()) {
    done(pod.status());
    return;
  }
  PodId id = (*pod)->id;
  const std::string request = (change.resources ? pod::ToText(*change.resources) : "-") +
                              (change.overhead ? pod::ToText(*change.overhead) : "-");
  state->verbs.Join("update #" + Digest(request) + " pod " + id.str(), std::move(done),
                    [state, id, change = std::move(change)](auto finish) {
                      state->Post(id.str(), [state, id, change, finish] {
                        finish(ToResult(state->UpdatePodNow(id, change).Annotate("update pod " + id.Short())));
                      });
                    });
}

Status Engine::State::UpdatePodNow(const PodId& id, const PodResourcesChange& change) {
  PodPtr current = Pod(id);
  if (!current) return NotFound("pod sandbox " + id.str() + " not found");
  if (current->phase != pod::Phase::kReady) return FailedPrecondition("it is not ready");
  pod::PodRecord wanted = *current;
  if (change.resources) {
    wanted.spec.resources = sys::MergeResources(current->spec.resources, *change.resources);
  }
  if (change.overhead) wanted.spec.overhead = sys::MergeResources(current->spec.overhead, *change.overhead);
  RETURN_IF_ERROR(sandboxes->ValidateResources(wanted.spec));

  pod::PodRecord intent = *current;
  intent.pending_resources = wanted.spec.resources;
  intent.pending_overhead = wanted.spec.overhead;
  FaultPoint("pod.update.begin");
  RETURN_IF_ERROR(records->Put(intent));
  FaultPoint("pod.update.intent");
  Status applied = sandboxes->ApplyResources(wanted);
  FaultPoint("pod.update.applied");
  Status recorded = records->Put(applied.ok() ? wanted : *current);
  FaultPoint("pod.update.recorded");
  if (!applied.ok()) return applied.WithUndoError(recorded);
  if (recorded.ok()) return {};
  return recorded.WithUndoError(sandboxes->ApplyResources(*current));
}

Status Engine::State::SettleUpdate(const PodId& id) {
  PodPtr current = Pod(id);
  if (!current || !current->pending_resources) return {};
  pod::PodRecord old = *current;
  old.pending_resources.reset();
  old.pending_overhead.reset();
  pod::PodRecord wanted = old;
  wanted.spec.resources = *current->pending_resources;
  wanted.spec.overhead = current->pending_overhead.value_or(old.spec.overhead);
  Status settled = current->phase == pod::Phase::kReady ? sandboxes->ApplyResources(wanted) : Status();
  if (!settled.ok()) {
    settled = settled.WithUndoError(sandboxes->ApplyResources(old));
    LogWarning("pod {}: finish an update of its limits: {}", id.Short(), settled.message());
  }
  return records->Put(settled.ok() ? wanted : old);
}

}  // namespace davit::engine
