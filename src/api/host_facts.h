// What clients ask about the node.
#pragma once

#include <cstdint>
#include <string>

namespace davit::api {

struct HostFacts {
  std::string kernel;
  std::string architecture;  // in Go's names
  std::string hostname;
  std::string os_id;  // of os-release
  std::string os_version;
  std::string os_codename;
  std::string os_name;
  uint64_t memory_total = 0;
  uint64_t memory_free = 0;
  uint64_t swap_total = 0;
  uint64_t swap_free = 0;
  int64_t uptime_seconds = 0;
  unsigned cpus = 1;
  bool cgroup_v2 = false;
};

HostFacts ReadHostFacts();
// CPU time of the whole node since its start, nanoseconds.
uint64_t SystemCpuNanos();

}  // namespace davit::api
