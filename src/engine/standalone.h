// Standalone pods and containers: what people and tools make, beside the kubelet's. The same records, the same making
// and taking away; what differs is that a record is there before its first run and between two runs (phase kDefined,
// and kNotReady or kExited), and that somebody has to start them again: their restart policy.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "engine/snapshot.h"

namespace davit::engine {

struct ContainerDefinition {
  std::string pod;  // of a standalone pod that is there; empty: `own_pod` is made for it
  std::optional<pod::PodSpec> own_pod;
  container::ContainerSpec spec;  // spec.standalone is set
};

struct DefinedContainer {
  ContainerId id;
  PodId pod;
};

// ---- Restart policies ----

// Whether the policy starts a container again that has ended. `after_boot`: the machine has been started since, where
// "always" counts even for what a client had stopped.
bool WantsRestart(const container::ContainerRecord& record, bool after_boot);

// How long to wait before the next start: 100 ms, doubled each time up to a minute, anew after a run of 10 s.
std::chrono::milliseconds RestartDelay(uint32_t restarts_in_a_row);

// ---- Waiting ----

enum class WaitCondition { kNotRunning, kNextExit, kRemoved, kRunning, kExited, kHealthy };  // the protocol's numbers

struct WaitOutcome {
  int exit_code = 0;
  std::string error;
};

// Who waits for what of which container, and the exit codes of those that are gone. Thread-safe.
class Waits {
 public:
  explicit Waits(std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now)
      : now_(std::move(now)) {}

  using Waiter = std::function<void(const WaitOutcome&)>;
  using Token = uint64_t;

  // Calls `waiter` once, at once when the condition holds for `record` already. `healthy`: its health check says so.
  Token Add(const ContainerPtr& record, WaitCondition condition, Waiter waiter);
  void Cancel(Token token);

  // From each change of a record; `now` is nullptr when it is gone.
  void Note(const ContainerPtr& before, const ContainerPtr& now);
  void NoteHealthy(const ContainerId& id);
  // For one waiter, who looked at `before` and may have missed what came until `now`.
  void Recheck(Token token, const ContainerPtr& before, const ContainerPtr& now);

  // Of a container that is gone, for five minutes, by id or by name.
  [[nodiscard]] std::optional<WaitOutcome> Gone(const std::string& text) const;

 private:
  struct Waiting {
    Token token;
    ContainerId id;
    WaitCondition condition;
    Waiter waiter;
  };
  struct Tomb {
    ContainerId id;
    std::string name;
    WaitOutcome outcome;
    std::chrono::steady_clock::time_point until;
  };
  // Calls and forgets those for whom `holds`.
  template <class Holds>
  void Release(const WaitOutcome& outcome, Holds holds);

  const std::function<std::chrono::steady_clock::time_point()> now_;
  mutable std::mutex mutex_;
  Token next_ = 1;
  std::list<Waiting> waiting_;
  std::list<Tomb> tombs_;
};

}  // namespace davit::engine
