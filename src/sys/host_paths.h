// HostPaths: the node's paths that a client names, asked with a limit of time. A file system whose server is gone (NFS
// mounted hard, a FUSE daemon that hangs) answers no system call, and no signal of ours gets a thread out of one.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"

namespace davit::sys {

class HostPaths {
 public:
  // `patience`: how long one question may take. `max_waiting`: once so many threads have been left waiting for an
  // answer, no more are asked; those under way at that moment come on top.
  explicit HostPaths(std::chrono::milliseconds patience = std::chrono::seconds(10), size_t max_waiting = 64);

  // The path without links, as realpath(3) gives it. Where nothing is there a directory is made, with those above it,
  // mode 0755. Any thread; copies of a HostPaths share its threads.
  // kDeadlineExceeded: the file system did not answer; the thread that asked stays until it does.
  // kResourceExhausted: so many threads wait already. Otherwise as errno says.
  [[nodiscard]] Result<std::string> Resolve(const std::string& path) const;

  // Threads that wait now for an answer that was given up.
  [[nodiscard]] size_t waiting() const;

 private:
  struct Waiting;
  std::chrono::milliseconds patience_;
  size_t max_waiting_;
  std::shared_ptr<Waiting> waiting_;
};

}  // namespace davit::sys
