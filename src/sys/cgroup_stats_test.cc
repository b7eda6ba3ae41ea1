#include "sys/cgroup_stats.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

MountInfo CgroupMount(const std::string& type, const std::string& point, const std::string& options) {
  MountInfo mount;
  mount.fs_type = type;
  mount.mount_point = point;
  mount.super_options = options;
  mount.root = "/";
  return mount;
}

// A directory that looks like the cgroup mounts of a node.
class CgroupStatsTest : public testing::Test {
 protected:
  void Put(const std::string& file, const std::string& text) {
    std::string path = dir_.At(file);
    ASSERT_TRUE(MakeDirectories(path.substr(0, path.rfind('/')), 0755).ok());
    ASSERT_TRUE(WriteFileAtomic(path, text, 0644, Durability::kAtomic).ok());
  }
  CgroupStatsReader Unified() {
    return CgroupStatsReader(*CgroupLayout::FromMounts({CgroupMount("cgroup2", dir_.path(), "rw")}));
  }
  CgroupStatsReader Hybrid() {
    return CgroupStatsReader(*CgroupLayout::FromMounts(
        {CgroupMount("cgroup", dir_.At("cpu"), "rw,cpu,cpuacct"), CgroupMount("cgroup", dir_.At("memory"), "rw,memory"),
         CgroupMount("cgroup", dir_.At("pids"), "rw,pids"), CgroupMount("cgroup", dir_.At("blkio"), "rw,blkio"),
         CgroupMount("cgroup2", dir_.At("unified"), "rw")}));
  }
  TempDir dir_;
};

TEST_F(CgroupStatsTest, VersionTwoInTheUnitsOfCri) {
  Put("pod/cpu.stat",
      "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n");
  Put("pod/cpu.max", "50000 100000\n");
  Put("pod/memory.current", "1000\n");
  Put("pod/memory.stat",
      "anon 600\nfile 350\nkernel 40\nfile_mapped 20\ninactive_file 300\nactive_file 50\npgfault 7\npgmajfault 2\n");
  Put("pod/memory.max", "max\n");
  Put("pod/memory.peak", "2000\n");
  Put("pod/memory.events", "low 0\nhigh 0\nmax 8\noom 1\noom_kill 1\n");
  Put("pod/memory.swap.current", "5\n");
  Put("pod/memory.swap.max", "64\n");
  Put("pod/pids.current", "3\n");
  Put("pod/pids.max", "max\n");
  Put("pod/io.stat", "8:16 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=1\n");
  Put("pod/io.pressure",
      "some avg10=1.50 avg60=2.25 avg300=0.00 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.12 total=12\n");
  auto detail = Unified().ReadDetail("/pod");
  ASSERT_TRUE(detail.ok()) << detail.status().ToString();
  const CgroupStats& stats = detail->stats;
  EXPECT_GT(stats.timestamp, 0);
  EXPECT_EQ(stats.cpu_usage_nanos, 1500000U);
  EXPECT_EQ(stats.memory_usage_bytes, 1000U);
  EXPECT_EQ(stats.memory_working_set_bytes, 700U);
  EXPECT_EQ(stats.memory_rss_bytes, 600U);
  EXPECT_EQ(stats.memory_limit_bytes, std::nullopt);
  EXPECT_EQ(stats.page_faults, 7U);
  EXPECT_EQ(stats.major_page_faults, 2U);
  EXPECT_EQ(stats.swap_usage_bytes, 5U);
  EXPECT_EQ(stats.swap_limit_bytes, 64U);
  EXPECT_EQ(stats.pids, 3U);
  EXPECT_FALSE(stats.cpu_pressure);
  EXPECT_FALSE(stats.memory_pressure);
  ASSERT_TRUE(stats.io_pressure && stats.io_pressure->some && stats.io_pressure->full);
  EXPECT_EQ(stats.io_pressure->some->avg10, 1.5);
  EXPECT_EQ(stats.io_pressure->some->avg60, 2.25);
  EXPECT_EQ(stats.io_pressure->some->total_micros, 99U);
  EXPECT_EQ(stats.io_pressure->full->avg300, 0.12);
  EXPECT_EQ(detail->cpu_user_nanos, 1000000U);
  EXPECT_EQ(detail->cpu_system_nanos, 500000U);
  EXPECT_EQ(detail->cpu_periods, 4U);
  EXPECT_EQ(detail->cpu_throttled_periods, 3U);
  EXPECT_EQ(detail->cpu_throttled_nanos, 2000U);
  EXPECT_EQ(detail->cpu_quota_micros, 50000U);
  EXPECT_EQ(detail->cpu_period_micros, 100000U);
  EXPECT_EQ(detail->memory_cache_bytes, 350U);
  EXPECT_EQ(detail->memory_kernel_bytes, 40U);
  EXPECT_EQ(detail->memory_mapped_file_bytes, 20U);
  EXPECT_EQ(detail->memory_active_file_bytes, 50U);
  EXPECT_EQ(detail->memory_max_usage_bytes, 2000U);
  EXPECT_EQ(detail->memory_limit_hits, 8U);
  EXPECT_EQ(detail->oom_kills, 1U);
  EXPECT_EQ(detail->pids_limit, std::nullopt);
  ASSERT_EQ(detail->io.size(), 2U);
  EXPECT_EQ(detail->io[0].minor, 16U);
  EXPECT_EQ(detail->io[0].read_bytes, 4096U);
  EXPECT_EQ(detail->io[0].write_bytes, 8192U);
  EXPECT_EQ(detail->io[0].reads, 1U);
  EXPECT_EQ(detail->io[0].writes, 2U);
  Put("pod/memory.max", "4096\n");
  Put("pod/cpu.max", "max 100000\n");
  EXPECT_EQ(Unified().Read("/pod")->memory_limit_bytes, 4096U);
  EXPECT_EQ(Unified().ReadDetail("/pod")->cpu_quota_micros, std::nullopt);
}

TEST_F(CgroupStatsTest, VersionOneIncludesTheCgroupsBelow) {
  Put("cpu/pod/cpuacct.usage", "12345\n");
  Put("cpu/pod/cpuacct.usage_user", "10000\n");
  Put("cpu/pod/cpuacct.usage_sys", "2345\n");
  Put("cpu/pod/cpu.stat", "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n");
  Put("cpu/pod/cpu.shares", "512\n");
  Put("cpu/pod/cpu.cfs_quota_us", "-1\n");
  Put("cpu/pod/cpu.cfs_period_us", "100000\n");
  Put("memory/pod/memory.stat", "rss 1\ntotal_rss 600\ninactive_file 1\ntotal_inactive_file 2000\ntotal_swap 9\n");
  Put("memory/pod/memory.usage_in_bytes", "1000\n");
  Put("memory/pod/memory.limit_in_bytes", "4096\n");
  Put("memory/pod/memory.memsw.limit_in_bytes", "8192\n");
  Put("memory/pod/memory.soft_limit_in_bytes", "9223372036854771712\n");
  Put("memory/pod/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  Put("pids/pod/pids.current", "3\n");
  Put("blkio/pod/blkio.throttle.io_service_bytes_recursive",
      "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 4608\n8:0 Total 4608\nTotal 4608\n");
  Put("blkio/pod/blkio.throttle.io_serviced_recursive", "8:0 Read 1\n8:0 Write 2\nTotal 3\n");
  auto detail = Hybrid().ReadDetail("/pod");
  ASSERT_TRUE(detail.ok()) << detail.status().ToString();
  EXPECT_EQ(detail->stats.cpu_usage_nanos, 12345U);
  EXPECT_EQ(detail->stats.memory_rss_bytes, 600U);
  EXPECT_EQ(detail->stats.memory_working_set_bytes, 0U);  // more cache than usage: the files are read one by one
  EXPECT_EQ(detail->stats.memory_limit_bytes, 4096U);
  EXPECT_EQ(detail->stats.swap_usage_bytes, 9U);
  EXPECT_EQ(detail->stats.swap_limit_bytes, 4096U);
  EXPECT_EQ(detail->cpu_user_nanos, 10000U);
  EXPECT_EQ(detail->cpu_system_nanos, 2345U);
  EXPECT_EQ(detail->cpu_throttled_nanos, 3U);
  EXPECT_EQ(detail->cpu_shares, 512U);
  EXPECT_EQ(detail->cpu_quota_micros, std::nullopt);
  EXPECT_EQ(detail->memory_reservation_bytes, std::nullopt);
  EXPECT_EQ(detail->oom_kills, 2U);
  ASSERT_EQ(detail->io.size(), 1U);
  EXPECT_EQ(detail->io[0].read_bytes, 4096U);
  EXPECT_EQ(detail->io[0].write_bytes, 512U);
  EXPECT_EQ(detail->io[0].writes, 2U);
}

TEST_F(CgroupStatsTest, AHybridNodesPressureCountsOnlyWithProcessesInThatHierarchy) {
  Put("pids/pod/pids.current", "3\n");
  Put("unified/pod/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
  Put("unified/pod/cgroup.events", "populated 0\nfrozen 0\n");
  EXPECT_FALSE(Hybrid().Read("/pod")->cpu_pressure);
  Put("unified/pod/cgroup.events", "populated 1\nfrozen 0\n");
  auto stats = Hybrid().Read("/pod");
  ASSERT_TRUE(stats->cpu_pressure && stats->cpu_pressure->some);
  EXPECT_EQ(stats->cpu_pressure->some->total_micros, 7U);
  EXPECT_FALSE(stats->cpu_pressure->full);  // before 5.13 cpu has no such line
}

TEST_F(CgroupStatsTest, ALimitAboveIsNotTheCgroupsOwn) {
  Put("memory/pod/memory.usage_in_bytes", "1000\n");
  Put("memory/pod/memory.stat", "hierarchical_memory_limit 4096\ntotal_rss 1\n");
  Put("memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Hybrid().Read("/pod")->memory_limit_bytes, std::nullopt);
  Put("memory/pod/memory.limit_in_bytes", "8192\n");
  EXPECT_EQ(Hybrid().Read("/pod")->memory_limit_bytes, 8192U);
}

TEST_F(CgroupStatsTest, ProcessesAreCountedInTheWholeTree) {
  Put("pids/pod/cgroup.procs", "1\n2\n");
  Put("pids/pod/a/b/cgroup.procs", "3\n");
  Put("pids/pod/c/cgroup.procs", "");
  EXPECT_EQ(Hybrid().CountProcesses("/pod").value_or(0), 3U);
  EXPECT_EQ(Hybrid().CountProcesses("/none").code(), StatusCode::kNotFound);
}

TEST_F(CgroupStatsTest, ErrorsTellAGoneCgroupFromABadName) {
  EXPECT_EQ(Unified().Read("/none").code(), StatusCode::kNotFound);
  EXPECT_EQ(Unified().Read("/../x").code(), StatusCode::kInvalidArgument);
}

TEST(PressureTest, RefusesWhatItDoesNotKnow) {
  EXPECT_FALSE(ParsePressure(""));
  EXPECT_FALSE(ParsePressure("some avg10=x avg60=0 avg300=0 total=1\n"));
  EXPECT_FALSE(ParsePressure("some avg10=0.00 avg60=0.00 avg300=0.00\n"));
}

}  // namespace
}  // namespace davit::sys
