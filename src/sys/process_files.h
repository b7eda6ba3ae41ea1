// What one process holds open, for metrics.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"

namespace davit::sys {

struct ProcessFiles {
  uint64_t descriptors = 0;
  uint64_t sockets = 0;  // among them
};

// Lists /proc/<pid>/fd. kNotFound when the process has ended; kResourceExhausted for more than
// `max_descriptors`, so that one process cannot make every answer wait.
Result<ProcessFiles> CountProcessFiles(pid_t pid, size_t max_descriptors);

// RLIMIT_NOFILE of the process, soft; nullopt when it has ended or there is no limit.
std::optional<uint64_t> OpenFilesLimit(pid_t pid);

}  // namespace davit::sys
