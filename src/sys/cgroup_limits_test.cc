#include "sys/cgroup_limits.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/strings.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

TEST(ParseCpuListTest, TakesListsAndNothingElse) {
  EXPECT_EQ(*ParseCpuList("0-2,7"), (std::vector<int>{0, 1, 2, 7}));
  EXPECT_EQ(*ParseCpuList("3,1,1"), (std::vector<int>{1, 3}));
  EXPECT_TRUE(ParseCpuList("")->empty());
  for (const char* bad : {"a", "1-", "-1", "2-1", "1,,2", "1 2", "0-99999", "0x1", ","}) {
    EXPECT_EQ(ParseCpuList(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

// A directory tree that looks like a hierarchy: files keep what is written, as most cgroup files do.
class FakeTree : public ::testing::Test {
 protected:
  void File(const std::string& name, const std::string& text) {
    std::ofstream(dir.path() + "/c/" + name) << text << "\n";
  }
  std::string Text(const std::string& name) {
    return std::string(Trim(ReadFile(dir.path() + "/c/" + name, 4096).value_or(std::string("?"))));
  }
  static MountInfo Mount(const std::string& type, const std::string& point, const std::string& options) {
    MountInfo mount;
    mount.fs_type = type;
    mount.mount_point = point;
    mount.super_options = options;
    mount.root = "/";
    return mount;
  }
  void SetUp() override { ASSERT_EQ(::mkdir((dir.path() + "/c").c_str(), 0755), 0); }

  TempDir dir;
};

class V1Limits : public FakeTree {
 protected:
  void SetUp() override {
    FakeTree::SetUp();
    layout = *CgroupLayout::FromMounts({Mount("cgroup", dir.path(), "rw,cpu,cpuset,memory,hugetlb")});
    File("memory.limit_in_bytes", "9223372036854771712");
    File("memory.memsw.limit_in_bytes", "9223372036854771712");
    File("cpu.shares", "1024");
    File("cpu.cfs_quota_us", "-1");
    File("cpu.cfs_period_us", "100000");
    File("cpuset.cpus", "0-1");
    File("cpuset.mems", "0");
    File("hugetlb.2MB.limit_in_bytes", "0");
  }
  CgroupLayout layout;
};

TEST_F(V1Limits, AllAreWrittenAndReadBack) {
  CgroupLimits limits;
  limits.memory_bytes = 64 << 20;
  limits.memory_swap_bytes = 128 << 20;
  limits.cpu_shares = 200;
  limits.cpu_quota = 20'000;
  limits.cpu_period = 50'000;
  limits.cpuset_cpus = "1";
  limits.hugepages = {{"2MB", (4 << 20) + 5}};
  ASSERT_EQ(ApplyCgroupLimits(layout, "/c", limits), Status());
  EXPECT_EQ(Text("memory.limit_in_bytes"), "67108864");
  EXPECT_EQ(Text("memory.memsw.limit_in_bytes"), "134217728");
  EXPECT_EQ(Text("cpu.shares"), "200");
  EXPECT_EQ(Text("cpu.cfs_quota_us"), "20000");
  EXPECT_EQ(Text("cpu.cfs_period_us"), "50000");
  EXPECT_EQ(Text("cpuset.cpus"), "1");
  EXPECT_EQ(Text("hugetlb.2MB.limit_in_bytes"), "4194304");
  EXPECT_EQ(CheckCgroupLimits(layout, "/c", limits), Status());
  File("cpu.shares", "1024");
  Status differs = CheckCgroupLimits(layout, "/c", limits);
  EXPECT_EQ(differs.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(differs.message().find("cpu_shares"), std::string::npos) << differs.message();
}

TEST_F(V1Limits, AFailureRestoresWhatWasWritten) {
  ASSERT_EQ(::unlink((dir.path() + "/c/hugetlb.2MB.limit_in_bytes").c_str()), 0);
  CgroupLimits limits;
  limits.memory_bytes = 64 << 20;
  limits.cpu_shares = 200;
  limits.hugepages = {{"2MB", 4 << 20}};
  Status status = ApplyCgroupLimits(layout, "/c", limits);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("hugepage_limits[2MB]"), std::string::npos) << status.message();
  EXPECT_EQ(Text("memory.limit_in_bytes"), "9223372036854771712");
  EXPECT_EQ(Text("cpu.shares"), "1024");
}

TEST_F(V1Limits, NoSwapAccountingIsNoError) {
  ASSERT_EQ(::unlink((dir.path() + "/c/memory.memsw.limit_in_bytes").c_str()), 0);
  CgroupLimits limits;
  limits.memory_bytes = 64 << 20;
  limits.memory_swap_bytes = 64 << 20;
  EXPECT_EQ(ApplyCgroupLimits(layout, "/c", limits), Status());
  EXPECT_EQ(Text("memory.limit_in_bytes"), "67108864");
}

TEST_F(V1Limits, AMissingCgroupIsNotFound) {
  CgroupLimits limits;
  limits.cpu_shares = 200;
  EXPECT_EQ(ApplyCgroupLimits(layout, "/other", limits).code(), StatusCode::kNotFound);
  EXPECT_EQ(ApplyCgroupLimits(layout, "/", limits).code(), StatusCode::kInvalidArgument);
}

class V2Limits : public FakeTree {
 protected:
  void SetUp() override {
    FakeTree::SetUp();
    layout = *CgroupLayout::FromMounts({Mount("cgroup2", dir.path(), "rw")});
    std::ofstream(dir.path() + "/cgroup.controllers") << "cpuset cpu io memory hugetlb pids\n";
    File("memory.max", "max");
    File("memory.swap.max", "max");
    File("memory.current", "1048576");
    File("memory.reclaim", "");
    File("cpu.weight", "100");
    File("cpu.max", "max 100000");
    File("memory.high", "max");
  }
  CgroupLayout layout;
};

TEST_F(V2Limits, ValuesAreTurnedIntoThoseOfVersion2) {
  CgroupLimits limits;
  limits.memory_bytes = 64 << 20;
  limits.memory_swap_bytes = 96 << 20;
  limits.cpu_shares = 1024;
  limits.cpu_quota = 20'000;
  limits.unified = {{"memory.high", "50000000"}};
  ASSERT_EQ(ApplyCgroupLimits(layout, "/c", limits), Status());
  EXPECT_EQ(Text("memory.max"), "67108864");
  EXPECT_EQ(Text("memory.swap.max"), "33554432");
  EXPECT_EQ(Text("cpu.weight"), "39");
  EXPECT_EQ(Text("cpu.max"), "20000 100000");
  EXPECT_EQ(Text("memory.high"), "50000000");
  CgroupLimits none;
  none.memory_bytes = -1;
  none.memory_swap_bytes = -1;
  none.cpu_quota = -1;
  ASSERT_EQ(ApplyCgroupLimits(layout, "/c", none), Status());
  EXPECT_EQ(Text("memory.max"), "max");
  EXPECT_EQ(Text("memory.swap.max"), "max");
  EXPECT_EQ(Text("cpu.max"), "max 100000");
}

TEST_F(V2Limits, ALimitBelowTheUsageIsRefusedAndNotEnforcedByAKill) {
  CgroupLimits limits;
  limits.memory_bytes = 524288;
  limits.cpu_shares = 200;
  Status status = ApplyCgroupLimits(layout, "/c", limits);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("memory_limit_in_bytes 524288"), std::string::npos) << status.message();
  EXPECT_EQ(Text("memory.reclaim"), "524288");  // it was asked to make room
  EXPECT_EQ(Text("memory.max"), "max");
  EXPECT_EQ(Text("cpu.weight"), "100");
}

// The kernel's own rules, which no fake has.
class RootCgroupLimits : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "makes cgroups";
    Result<CgroupLayout> found = CgroupLayout::Detect();
    if (!found.ok()) GTEST_SKIP() << found.status().message();
    layout = *found;
    if (!CreateCgroup(layout, cgroup).ok()) GTEST_SKIP() << "cannot make cgroups here";
  }
  void TearDown() override { IgnoreError(RemoveCgroup(layout, cgroup)); }

  CgroupLayout layout;
  std::string cgroup = "/davit-limits-test-" + std::to_string(::getpid());
};

TEST_F(RootCgroupLimits, RaisedAndLoweredInEitherDirection) {
  CgroupAbilities node = *CgroupAbilities::Read(layout);
  if (!layout.Directory("memory", cgroup) || !layout.Directory("cpu", cgroup)) GTEST_SKIP() << "no memory or cpu";
  for (int64_t megabytes : {64, 256, 32, 128}) {
    for (int64_t period : {100'000, 10'000, 500'000}) {
      CgroupLimits limits;
      limits.memory_bytes = megabytes << 20;
      if (node.swap) limits.memory_swap_bytes = megabytes << 20;
      limits.cpu_period = period;
      limits.cpu_quota = period / 2;
      limits.cpu_shares = megabytes;
      EXPECT_EQ(ApplyCgroupLimits(layout, cgroup, limits), Status()) << megabytes << " MiB, period " << period;
      EXPECT_EQ(CheckCgroupLimits(layout, cgroup, limits), Status());
    }
  }
}

TEST_F(RootCgroupLimits, WhatTheKernelRefusesLeavesTheRestAsItWas) {
  if (!layout.V1MountPoint("cpuset")) GTEST_SKIP() << "version 2 takes any cpu list";
  CgroupLimits before;
  before.cpu_shares = 300;
  before.memory_bytes = 64 << 20;
  ASSERT_EQ(ApplyCgroupLimits(layout, cgroup, before), Status());
  CgroupLimits limits;
  limits.cpu_shares = 400;
  limits.memory_bytes = 32 << 20;
  limits.cpuset_cpus = "8000";
  Status status = ApplyCgroupLimits(layout, cgroup, limits);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.message();
  EXPECT_NE(status.message().find("cpuset_cpus 8000"), std::string::npos) << status.message();
  EXPECT_EQ(CheckCgroupLimits(layout, cgroup, before), Status());
}

}  // namespace
}  // namespace davit::sys
