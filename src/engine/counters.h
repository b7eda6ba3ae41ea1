// Counters: what the engine has done since it started, for davitd's own metrics.
#pragma once

#include "base/metrics.h"

namespace davit::engine {

struct Counters {
  Counter pulls;
  Counter pull_failures;
  Counter pulled_bytes;  // compressed, as they came over the network
  Histogram pull_seconds;

  Counter exits;
  Counter oom_kills;

  // Of the start: what became of what an earlier davitd had left.
  Counter recovered_running;  // containers found alive
  Counter recovered_exited;   // containers that had ended unseen
  Counter recovered_removed;  // half-made or half-removed containers and pods
  Counter recovered_stopped;  // pods whose stop was finished
  Counter recovery_failures;
};

}  // namespace davit::engine
