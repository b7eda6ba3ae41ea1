// Recovery: makes the node and the records agree after davitd ended in any way, at any instant.
//
// The rule for each record follows from its phase alone:
//   being created, being removed   what may exist is taken away, then the record
//   stopping                       the stop is finished
//   created, running               the monitor says what is true; without a monitor its exit file does; an
//                                  update of limits that was under way is finished
//   exited, not ready              nothing, but a network still owed is taken away
// Records of an earlier boot describe nothing that runs, yet may still hold address leases.

#include <condition_variable>

#include "base/log.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

using container::ContainerRecord;

// So long the start waits for the work of recovery; what is still stuck then goes on behind it.
constexpr std::chrono::seconds kStartBudget{20};

class Countdown {
 public:
  explicit Countdown(size_t count) : left_(count) {}
  void Down() {
    std::lock_guard lock(mutex_);
    if (--left_ == 0) reached_.notify_all();
  }
  bool Wait(Deadline deadline) {
    std::unique_lock lock(mutex_);
    return reached_.wait_until(lock, deadline.at(), [&] { return left_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable reached_;
  size_t left_;
};

}  // namespace

Status Engine::State::Recover() {
  SnapshotPtr view = View();
  // One task for each container, then one for its pod, on the pod's strand: in order within a pod.
  auto countdown = std::make_shared<Countdown>(view->containers().size() + view->pods().size());
  for (const auto& entry : view->containers()) {
    ContainerPtr record = entry.second;
    Post(record->pod.str(), [this, record, countdown] {
      RecoverContainer(*record);
      countdown->Down();
    });
  }
  for (const auto& entry : view->pods()) {
    PodPtr record = entry.second;
    Post(record->id.str(), [this, record, countdown] {
      RecoverPod(*record);
      countdown->Down();
    });
  }
  bool idle = view->containers().empty() && view->pods().empty();
  if (!idle && !countdown->Wait(Deadline::After(kStartBudget))) {
    LogWarning("recovery goes on in the background: something is stuck");
  }
  return {};
}

void Engine::State::RecoverContainer(const ContainerRecord& record) {
  using container::Phase;
  Status status;
  ThawAfterCommit(record);
  switch (record.phase) {
    case Phase::kCreating:
    case Phase::kRemoving:
      counters.recovered_removed.Add();
      status = IsStandalone(record) && record.phase == Phase::kCreating ? UndoContainer(record)
                                                                        : RemoveContainerNow(record.id);
      break;
    case Phase::kCreated:
    case Phase::kRunning: {
      const std::string directory = containers->paths().Directory(record.id);
      Result<monitor::State> now = monitor::Query(directory, Deadline::After(kKillBudget));
      // One that does not answer is there all the same, and so is its container.
      const bool silent = now.code() == StatusCode::kDeadlineExceeded;
      if (silent) LogWarning("container {}: its monitor does not answer", record.id.Short());
      if (silent || (now.ok() && now->phase != monitor::Phase::kExited)) {
        if (now.ok() && now->phase == monitor::Phase::kRunning && record.phase == Phase::kCreated) {
          // davitd ended between the start and its record.
          ContainerRecord started = record;
          started.phase = Phase::kRunning;
          started.started_at = now->started_at_nanos;
          status = records->Put(started);
        }
        if (status.ok()) status = WatchExit(record);
        if (status.ok()) status = SettleUpdate(record.id);
        counters.recovered_running.Add();
      } else {
        counters.recovered_exited.Add();
        OnExit(record.id, now.ok() ? std::optional(*now) : std::nullopt);
      }
      break;
    }
    case Phase::kExited:
    case Phase::kDefined:
      break;
  }
  if (IsStandalone(record)) ResumeStandalone(record.id, record.boot_id);
  if (!status.ok()) counters.recovery_failures.Add();
  if (!status.ok()) LogWarning("recover container {}: {}", record.id.Short(), status.message());
}

void Engine::State::RecoverPod(const pod::PodRecord& record) {
  using pod::Phase;
  Status status;
  switch (record.phase) {
    case Phase::kCreating:
      if (IsStandalone(record)) {
        status = UndoPod(record);
        break;
      }
      [[fallthrough]];
    case Phase::kRemoving:
      counters.recovered_removed.Add();
      status = RemovePodNow(record.id);
      if (!status.ok()) RetryDetachLater(record.id);
      break;
    case Phase::kStopping:
      counters.recovered_stopped.Add();
      status = StopPodNow(record.id);
      break;
    case Phase::kReady:
      // After a reboot, or when somebody took its namespaces away: it cannot run containers any more.
      if (record.boot_id != boot_id || !sandboxes->Alive(record)) {
        status = StopPodNow(record.id);
      } else {
        status = SettleUpdate(record.id);
        if (status.ok()) status = WatchInit(record);
        if (status.ok()) status = ResumeNetwork(record);
      }
      break;
    case Phase::kNotReady:
    case Phase::kDefined:
      if (!record.attachment.empty()) status = StopPodNow(record.id);
      break;
  }
  // Its container was not written any more, or is gone.
  if (record.spec.implicit && View().ContainersOf(record.id).empty()) status = RemovePodNow(record.id);
  if (!status.ok()) counters.recovery_failures.Add();
  if (!status.ok()) LogWarning("recover pod {}: {}", record.id.Short(), status.message());
}

}  // namespace davit::engine
