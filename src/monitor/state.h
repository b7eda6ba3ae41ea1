// What a monitor knows about its container: values, no behaviour.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace davit::monitor {

enum class Phase : uint8_t {
  kCreating = 0,  // `runtime create` runs
  kCreated = 1,   // the first process waits for start
  kRunning = 2,
  kExited = 3,  // the first process was reaped, its output is in the log file
};

// How the container's first process ended (docs/formats/exit-record.md).
struct ExitRecord {
  int code = 0;                   // exit status, or 128 + signal
  int64_t started_at_nanos = 0;   // wall clock; 0 when it was never started
  int64_t finished_at_nanos = 0;  // wall clock, when it was reaped
  bool oom_killed = false;        // the kernel killed something in the container's cgroup for memory

  friend bool operator==(const ExitRecord&, const ExitRecord&) = default;
};

struct State {
  Phase phase = Phase::kCreating;
  pid_t pid = 0;  // first process, in the host's PID namespace; 0 before kCreated
  pid_t monitor_pid = 0;
  int64_t started_at_nanos = 0;    // wall clock; 0 before the start
  std::optional<ExitRecord> exit;  // set in kExited
  Status error;                    // why create or start failed: the runtime's message, else OK

  friend bool operator==(const State&, const State&) = default;
};

// `directory`/exit, written with rename(2) before any watcher hears of kExited.
std::string FormatExitRecord(const ExitRecord& record);
// kDataLoss for text that is not a whole record. Unknown lines are skipped.
Result<ExitRecord> ParseExitRecord(std::string_view text);

}  // namespace davit::monitor
