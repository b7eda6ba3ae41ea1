// HealthChecks: runs the health checks of standalone containers and keeps what they found (Docker's HEALTHCHECK):
// starting, then healthy after a success, unhealthy after as many failures in a row as the check allows. What is known
// dies with davitd and with the container's run; the next one begins anew.
//
// Thread rules: all methods from any thread; callbacks are called with no lock held.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "container/spec.h"
#include "sched/event_loop.h"

namespace davit::engine {

struct Health {
  struct Probe {
    int64_t start = 0;  // wall nanoseconds
    int64_t end = 0;
    int exit_code = 0;   // -1: it did not end, or could not be run
    std::string output;  // the first 4 KiB
  };
  std::string status;  // starting, healthy, unhealthy; empty: there is no check
  uint32_t failing_streak = 0;
  std::deque<Probe> log;  // the last five
};

struct ProbeResult {
  int exit_code = 0;
  std::string output;
};

class HealthChecks {
 public:
  using Answer = std::function<void(const ProbeResult&)>;
  struct Options {
    sched::EventLoop* loop = nullptr;  // outlives this
    // Runs one probe and answers once.
    std::function<void(const ContainerId&, const std::vector<std::string>& command, std::chrono::nanoseconds timeout,
                       Answer)>
        run;
    // The status has changed.
    std::function<void(const ContainerId&, const std::string& status)> on_change;
  };
  explicit HealthChecks(Options options) : state_(std::make_shared<State>(std::move(options))) {}
  ~HealthChecks();  // no probe begins afterwards

  // A run of the container has begun, or was found at davitd's start.
  void Begin(const ContainerId& id, const container::HealthCheck& check);
  void End(const ContainerId& id);
  [[nodiscard]] Health Get(const ContainerId& id) const;
  // One probe beside the regular ones. kFailedPrecondition: it has no check, or does not run.
  void CheckNow(const ContainerId& id, std::function<void(const Result<Health>&)> done);

 private:
  struct Run {
    container::HealthCheck check;
    Health health;
    std::chrono::steady_clock::time_point begun;
    uint64_t generation = 0;  // a timer of an earlier run does nothing
  };
  // Shared with timers and probes, which may outlive the object.
  struct State {
    explicit State(Options given) : options(std::move(given)) {}
    Options options;
    std::mutex mutex;
    bool ended = false;
    uint64_t generations = 0;
    std::map<ContainerId, Run> runs;
  };
  static void Schedule(const std::shared_ptr<State>& state, const ContainerId& id, uint64_t generation);
  static void Probe(const std::shared_ptr<State>& state, const ContainerId& id, uint64_t generation,
                    std::function<void(const Result<Health>&)> done);

  std::shared_ptr<State> state_;
};

}  // namespace davit::engine
