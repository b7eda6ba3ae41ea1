// CgroupStats: what the files of one cgroup say, of version 1, hybrid and 2 alike.
//
// Sources: Documentation/admin-guide/cgroup-v1/{cpuacct,memory,blkio-controller,hugetlb,pids}.rst,
// cgroup-v2.rst, Documentation/accounting/psi.rst.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/cgroup.h"
#include "sys/cgroup_files.h"

namespace davit::sys {

// One line of a *.pressure file.
struct PressureLine {
  double avg10 = 0;  // per cent of the last 10 seconds; 60 and 300 likewise
  double avg60 = 0;
  double avg300 = 0;
  uint64_t total_micros = 0;
};

struct Pressure {
  std::optional<PressureLine> some;  // at least one task waited
  std::optional<PressureLine> full;  // all of them did
};

struct BlockDeviceIo {
  uint32_t major = 0;
  uint32_t minor = 0;
  uint64_t read_bytes = 0;
  uint64_t write_bytes = 0;
  uint64_t reads = 0;
  uint64_t writes = 0;
  std::string name;  // "/dev/vda"; empty when the node does not know the device any more
};

struct HugepageUse {
  std::string page_size;  // "2MB"
  uint64_t usage_bytes = 0;
  std::optional<uint64_t> max_usage_bytes;  // version 1 only
};

// An absent value is one that the kernel does not tell: nothing here is a guess. All counters include the
// cgroups below.
struct CgroupStats {
  int64_t timestamp = 0;  // wall nanoseconds
  std::optional<uint64_t> cpu_usage_nanos;
  std::optional<uint64_t> memory_usage_bytes;
  std::optional<uint64_t> memory_working_set_bytes;  // usage less inactive file cache, as the kubelet defines it
  std::optional<uint64_t> memory_rss_bytes;
  std::optional<uint64_t> memory_limit_bytes;  // the cgroup's own; absent when unlimited
  std::optional<uint64_t> page_faults;
  std::optional<uint64_t> major_page_faults;
  std::optional<uint64_t> swap_usage_bytes;
  std::optional<uint64_t> swap_limit_bytes;  // absent when unlimited
  std::optional<uint64_t> pids;              // tasks: threads count
  // On a hybrid node from the unified hierarchy, and only when the processes are in it too.
  std::optional<Pressure> cpu_pressure;
  std::optional<Pressure> memory_pressure;
  std::optional<Pressure> io_pressure;
};

// The rest, for metrics.
struct CgroupDetail {
  CgroupStats stats;

  std::optional<uint64_t> cpu_user_nanos;
  std::optional<uint64_t> cpu_system_nanos;
  std::optional<uint64_t> cpu_periods;
  std::optional<uint64_t> cpu_throttled_periods;
  std::optional<uint64_t> cpu_throttled_nanos;
  std::optional<uint64_t> cpu_shares;        // version 1 only: version 2 has a weight
  std::optional<uint64_t> cpu_quota_micros;  // absent when unlimited
  std::optional<uint64_t> cpu_period_micros;

  std::optional<uint64_t> memory_cache_bytes;
  std::optional<uint64_t> memory_mapped_file_bytes;
  std::optional<uint64_t> memory_kernel_bytes;
  std::optional<uint64_t> memory_active_file_bytes;
  std::optional<uint64_t> memory_inactive_file_bytes;
  std::optional<uint64_t> memory_max_usage_bytes;
  std::optional<uint64_t> memory_limit_hits;         // "failcnt"
  std::optional<uint64_t> memory_reservation_bytes;  // soft limit, memory.low; absent when none
  std::optional<uint64_t> oom_kills;

  std::optional<uint64_t> pids_limit;  // absent when unlimited or not known
  std::vector<BlockDeviceIo> io;       // by device number
  std::vector<HugepageUse> hugepages;
};

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull …"; nullopt for a text that is neither.
std::optional<Pressure> ParsePressure(std::string_view text);

// Knows where on this node each number is. Any thread; each file is read with one read(2), and parsing allocates
// nothing.
class CgroupStatsReader {
 public:
  // At most `most_open` files stay open from one Read to the next.
  explicit CgroupStatsReader(const CgroupLayout& layout, size_t most_open = 0);

  // kNotFound when the cgroup is not there; kInvalidArgument for what is no cgroup path.
  Result<CgroupStats> Read(const std::string& cgroup) const;
  Result<CgroupDetail> ReadDetail(const std::string& cgroup) const;
  // Processes (not threads) in the cgroup and below it.
  Result<uint64_t> CountProcesses(const std::string& cgroup) const;
  // Closes what is open of a cgroup that is gone, or will not be asked for again, and of those below it.
  void Forget(const std::string& cgroup) const;

 private:
  struct Place {
    std::string mount_point;  // empty: the controller is not there
    bool v1 = false;
  };
  static Place Find(const CgroupLayout& layout, const std::string& controller);
  Status ReadUsage(const std::string& cgroup, CgroupFiles& open, CgroupDetail& detail, bool everything) const;

  Place cpuacct_;
  Place cpu_;
  Place memory_;
  Place pids_;
  Place io_;
  Place hugetlb_;
  std::string unified_;  // for pressure; empty: none
  bool unified_only_ = false;
  std::vector<std::string> page_sizes_;
  mutable CgroupFiles files_;  // of Read alone: metrics are asked for rarely, and of many files
};

}  // namespace davit::sys
