// OomWatch: whether the kernel has killed something in a container's cgroup for memory, also where that cgroup is gone
// before its counters could be read. systemd removes a scope as soon as its last process has left it, which is before
// the parent hears of the death; and the kernel holds back the second of two notices for 10 ms. Single thread.
//
// Sources: cgroup v2 memory.events (Documentation/admin-guide/cgroup-v2.rst: counted in the victim's cgroup and in all
// above it), cgroup v1 memory.oom_control.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "monitor/poller.h"

namespace davit::monitor {

class OomWatch final : public Pollable {
 public:
  explicit OomWatch(Poller& poller) : own_(poller, this), pod_(poller, this) {}

  // `file`: memory.events or memory.oom_control of the container's cgroup, before its first process runs. Without the
  // file nothing is ever known, and Killed says no.
  void Open(const std::string& file);

  // After the end of the container's process; `code`: how it ended, 128 + the signal that killed it. Where the cgroup
  // has gone unread, a kill counted in the cgroup above it (the pod's) since the last reading is taken for one here, if
  // the process did die of SIGKILL: a neighbour killed in the same 10 ms is the only way to be wrong.
  [[nodiscard]] bool Killed(int code) const;

 private:
  struct Counts {
    uint64_t ooms = 0;   // limits hit with nothing left to reclaim; version 2 only
    uint64_t kills = 0;  // processes killed for it
  };
  static std::optional<Counts> ReadCounts(const PolledFd& file);  // nullopt: its cgroup has been removed

  void OnReady(uint32_t epoll_events) override;
  bool Read();  // false: the container's cgroup is gone

  PolledFd own_;
  PolledFd pod_;  // the cgroup above; version 2 only, whose counters are of the whole tree below
  Counts before_;
  Counts last_;      // as far as they could be read
  Counts pod_last_;  // when last_ was
};

}  // namespace davit::monitor
