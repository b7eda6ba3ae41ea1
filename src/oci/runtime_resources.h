// Resources: the limits of a container's cgroup, `linux.resources` of config.json and the whole of
// `update --resources`.
//
// Source: OCI runtime-spec 1.3.0, config-linux.md, "Control groups". Units are the specification's: those of cgroup
// version 1, also where the machine has version 2. What is not set is left as the kernel has it.
// Plain values, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace davit::oci {

struct DeviceRule {
  bool allow = false;
  char type = 'a';               // 'a', 'b', 'c'
  std::optional<int64_t> major;  // nullopt: any
  std::optional<int64_t> minor;
  std::string access = "rwm";
};

struct MemoryLimits {
  std::optional<int64_t> limit;  // bytes; -1: none
  std::optional<int64_t> reservation;
  std::optional<int64_t> swap;  // memory + swap
  std::optional<uint64_t> swappiness;
  std::optional<bool> disable_oom_killer;
  std::optional<int64_t> kernel = {};      // version 1, and ignored by kernels since 5.16
  std::optional<int64_t> kernel_tcp = {};  // version 1
  std::optional<bool> use_hierarchy = {};  // version 1; always so since 5.11
  std::optional<bool> check_before_update = {};
};

struct CpuLimits {
  std::optional<uint64_t> shares;
  std::optional<int64_t> quota;    // microseconds in a period
  std::optional<uint64_t> period;  // microseconds
  std::string cpus;                // "0-3,7"
  std::string mems;
  std::optional<uint64_t> burst = {};  // microseconds
  std::optional<int64_t> realtime_runtime = {};
  std::optional<uint64_t> realtime_period = {};
  std::optional<int64_t> idle = {};  // 1: SCHED_IDLE for all of it
};

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;     // bytes
};

struct WeightDevice {
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint16_t> weight;
  std::optional<uint16_t> leaf_weight;
};

struct ThrottleDevice {
  int64_t major = 0;
  int64_t minor = 0;
  uint64_t rate = 0;  // bytes or operations a second; 0: no limit
};

struct BlockIo {
  std::optional<uint16_t> weight;  // 10..1000; 0: not set
  std::optional<uint16_t> leaf_weight;
  std::vector<WeightDevice> weight_devices;
  std::vector<ThrottleDevice> throttle_read_bps;
  std::vector<ThrottleDevice> throttle_write_bps;
  std::vector<ThrottleDevice> throttle_read_iops;
  std::vector<ThrottleDevice> throttle_write_iops;

  [[nodiscard]] bool empty() const {
    return !weight && !leaf_weight && weight_devices.empty() && throttle_read_bps.empty() &&
           throttle_write_bps.empty() && throttle_read_iops.empty() && throttle_write_iops.empty();
  }
};

struct RdmaLimit {
  std::optional<uint32_t> hca_handles;
  std::optional<uint32_t> hca_objects;
};

// Version 1 only: net_cls and net_prio.
struct NetworkLimits {
  std::optional<uint32_t> class_id;
  std::vector<std::pair<std::string, uint32_t>> priorities;  // interface, priority

  [[nodiscard]] bool empty() const { return !class_id && priorities.empty(); }
};

struct Resources {
  std::vector<DeviceRule> devices;  // in order; the last matching rule decides
  MemoryLimits memory;
  CpuLimits cpu;
  std::optional<int64_t> pids_limit;
  BlockIo block_io;
  std::vector<HugepageLimit> hugepage_limits;
  std::map<std::string, std::string> unified;  // cgroup v2 file -> value
  std::map<std::string, RdmaLimit> rdma = {};  // device -> limits
  NetworkLimits network = {};
};

std::string ToJson(const Resources& resources);  // compact; for `update --resources -`

// --- Defaults: functions, so that each caller has its own copy to change ---

// Deny all; then mknod of anything, and the character devices that every container has.
std::vector<DeviceRule> DefaultDeviceRules();
// Everything allowed, for privileged containers.
std::vector<DeviceRule> AllowAllDevices();

}  // namespace davit::oci
