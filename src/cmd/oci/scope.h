// A scope of systemd for a container that is not there yet: a process of ours keeps it until the container is in it.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::oci_cli {

class ScopeKeeper {
 public:
  // The scope of the cgroup, made by systemd, with a process that only waits in it.
  static Result<ScopeKeeper> Make(const std::string& cgroup, const std::string& description);
  ScopeKeeper(ScopeKeeper&& other) noexcept : pid_(std::exchange(other.pid_, -1)), end_(std::move(other.end_)) {}
  ScopeKeeper& operator=(ScopeKeeper&&) = delete;
  // The process ends; the scope stays while something else is in it.
  ~ScopeKeeper();

 private:
  ScopeKeeper(pid_t pid, sys::UniqueFd end) : pid_(pid), end_(std::move(end)) {}
  pid_t pid_;
  sys::UniqueFd end_;  // closed by the end of this runtime, however it comes: then the process ends too
};

}  // namespace davit::oci_cli
