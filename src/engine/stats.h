// The numbers that the engine gives about pods and containers. An absent value is one that nobody knows,
// never a zero for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/snapshot.h"
#include "sys/cgroup_stats.h"
#include "sys/interface_counters.h"

namespace davit::engine {

// Of a container's writable layer, measured in the background (engine/writable_usage.h).
struct WritableLayer {
  uint64_t bytes = 0;
  uint64_t inodes = 0;
  int64_t measured_at = 0;  // wall nanoseconds
};

struct ContainerStats {
  ContainerPtr record;
  int64_t timestamp = 0;                   // wall nanoseconds
  std::optional<sys::CgroupStats> cgroup;  // absent: the container has ended meanwhile
  std::optional<uint64_t> cpu_nano_cores;  // since an earlier sample, a second old at least
  std::optional<WritableLayer> writable;   // absent before the first measurement
};

struct NetworkUse {
  int64_t timestamp = 0;
  std::vector<sys::InterfaceUse> interfaces;  // without "lo"
};

struct PodStats {
  PodPtr record;
  int64_t timestamp = 0;
  // Of the pod's cgroup; where pods share one, the sum of the containers (and no pressure, which has no sum).
  std::optional<sys::CgroupStats> cgroup;
  std::optional<uint64_t> cpu_nano_cores;
  std::optional<uint64_t> processes;
  std::optional<NetworkUse> network;       // absent on the node's network, whose traffic is not the pod's
  std::vector<ContainerStats> containers;  // running ones
};

// ---- For metrics ----

struct ContainerNumbers {
  ContainerPtr record;
  int64_t timestamp = 0;
  sys::CgroupDetail cgroup;
  std::optional<uint64_t> processes;
  std::optional<uint64_t> descriptors;
  std::optional<uint64_t> sockets;
  std::optional<uint64_t> open_files_limit;  // of its first process, soft
  std::optional<WritableLayer> writable;
};

struct PodNumbers {
  PodPtr record;
  int64_t timestamp = 0;
  std::optional<sys::CgroupDetail> cgroup;  // absent when pods share one
  std::optional<uint64_t> processes;
  std::optional<NetworkUse> network;
  std::vector<ContainerNumbers> containers;
};

// Totals of several cgroups; a value that one of them lacks is absent.
sys::CgroupStats Sum(const std::vector<ContainerStats>& containers);

}  // namespace davit::engine
