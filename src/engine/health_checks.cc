#include "engine/health_checks.h"

#include <optional>

#include "base/time.h"

namespace davit::engine {
namespace {

constexpr size_t kKeptProbes = 5;
constexpr size_t kKeptOutput = 4096;
constexpr uint32_t kDefaultRetries = 3;
constexpr std::chrono::seconds kDefaultInterval{30};
constexpr std::chrono::seconds kDefaultTimeout{30};
constexpr std::chrono::seconds kDefaultStartInterval{5};

std::chrono::nanoseconds Or(int64_t nanoseconds, std::chrono::nanoseconds fallback) {
  return nanoseconds > 0 ? std::chrono::nanoseconds(nanoseconds) : fallback;
}

bool Starting(const container::HealthCheck& check, const Health& health, std::chrono::steady_clock::time_point begun) {
  return health.status == "starting" && check.start_period > 0 &&
         std::chrono::steady_clock::now() - begun < std::chrono::nanoseconds(check.start_period);
}

std::vector<std::string> CommandOf(const container::HealthCheck& check) {
  if (check.test[0] == "CMD-SHELL") return {"/bin/sh", "-c", check.test[1]};
  return {check.test.begin() + 1, check.test.end()};
}

}  // namespace

HealthChecks::~HealthChecks() {
  std::lock_guard lock(state_->mutex);
  state_->ended = true;
  state_->runs.clear();
}

void HealthChecks::Begin(const ContainerId& id, const container::HealthCheck& check) {
  uint64_t generation = 0;
  {
    std::lock_guard lock(state_->mutex);
    Run& run = state_->runs[id];
    run = {check, {"starting", 0, {}}, std::chrono::steady_clock::now(), ++state_->generations};
    generation = run.generation;
  }
  Schedule(state_, id, generation);
}

void HealthChecks::End(const ContainerId& id) {
  std::lock_guard lock(state_->mutex);
  state_->runs.erase(id);
}

Health HealthChecks::Get(const ContainerId& id) const {
  std::lock_guard lock(state_->mutex);
  auto it = state_->runs.find(id);
  return it == state_->runs.end() ? Health() : it->second.health;
}

void HealthChecks::Schedule(const std::shared_ptr<State>& state, const ContainerId& id, uint64_t generation) {
  std::lock_guard lock(state->mutex);
  auto it = state->runs.find(id);
  if (state->ended || it == state->runs.end() || it->second.generation != generation) return;
  const Run& run = it->second;
  const std::chrono::nanoseconds delay = Starting(run.check, run.health, run.begun)
                                             ? Or(run.check.start_interval, kDefaultStartInterval)
                                             : Or(run.check.interval, kDefaultInterval);
  std::weak_ptr<State> weak = state;
  state->options.loop->After(delay, [weak, id, generation] {
    std::shared_ptr<State> alive = weak.lock();
    if (!alive) return;
    Probe(alive, id, generation, [weak, id, generation](const Result<Health>&) {
      if (std::shared_ptr<State> still = weak.lock()) Schedule(still, id, generation);
    });
  });
}

void HealthChecks::CheckNow(const ContainerId& id, std::function<void(const Result<Health>&)> done) {
  uint64_t generation = 0;
  {
    std::lock_guard lock(state_->mutex);
    auto it = state_->runs.find(id);
    if (it != state_->runs.end()) generation = it->second.generation;
  }
  if (generation == 0) {
    return done(FailedPrecondition("container " + id.Short() + " has no health check, or does not run"));
  }
  Probe(state_, id, generation, std::move(done));
}

void HealthChecks::Probe(const std::shared_ptr<State>& state, const ContainerId& id, uint64_t generation,
                         std::function<void(const Result<Health>&)> done) {
  std::optional<container::HealthCheck> check;
  {
    std::lock_guard lock(state->mutex);
    auto it = state->runs.find(id);
    if (!state->ended && it != state->runs.end() && it->second.generation == generation) check = it->second.check;
  }
  if (!check) return done(FailedPrecondition("container " + id.Short() + " has ended"));
  const int64_t started = WallNanos();
  state->options.run(
      id, CommandOf(*check), Or(check->timeout, kDefaultTimeout),
      [state, id, generation, started, done = std::move(done)](const ProbeResult& result) {
        std::optional<std::string> changed;
        Health now;
        {
          std::lock_guard lock(state->mutex);
          auto it = state->runs.find(id);
          if (state->ended || it == state->runs.end() || it->second.generation != generation) return;
          Run& run = it->second;
          Health& health = run.health;
          health.log.push_back({started, WallNanos(), result.exit_code, result.output.substr(0, kKeptOutput)});
          if (health.log.size() > kKeptProbes) health.log.pop_front();
          const std::string before = health.status;
          if (result.exit_code == 0) {
            health.failing_streak = 0;
            health.status = "healthy";
          } else if (!Starting(run.check, health, run.begun)) {
            ++health.failing_streak;
            const uint32_t retries = run.check.retries > 0 ? run.check.retries : kDefaultRetries;
            if (health.failing_streak >= retries) health.status = "unhealthy";
          }
          if (health.status != before) changed = health.status;
          now = health;
        }
        if (changed) state->options.on_change(id, *changed);
        done(now);
      });
}

}  // namespace davit::engine
