#include "sys/resources.h"

#include <gtest/gtest.h>

namespace davit::sys {
namespace {

TEST(ResourcesTest, AMergeKeepsWhatIsNotSet) {
  Resources current;
  current.cpu_shares = 100;
  current.memory_limit_bytes = 64 << 20;
  current.oom_score_adj = 500;
  current.cpuset_cpus = "0";
  current.hugepage_limits = {{"2MB", 1}};
  current.unified = {{"memory.high", "1"}, {"memory.min", "2"}};
  Resources change;
  change.cpu_quota = 20'000;
  change.memory_limit_bytes = 32 << 20;
  change.oom_score_adj = -998;
  change.hugepage_limits = {{"2MB", 0}, {"1GB", 2}};
  change.unified = {{"memory.high", "3"}};
  Resources merged = MergeResources(current, change);
  EXPECT_EQ(merged.cpu_shares, 100);
  EXPECT_EQ(merged.cpu_quota, 20'000);
  EXPECT_EQ(merged.memory_limit_bytes, 32 << 20);
  EXPECT_EQ(merged.oom_score_adj, 500);
  EXPECT_EQ(merged.cpuset_cpus, "0");
  ASSERT_EQ(merged.hugepage_limits.size(), 2u);
  EXPECT_EQ(merged.hugepage_limits[0].limit, 0u);
  EXPECT_EQ(merged.hugepage_limits[1].page_size, "1GB");
  EXPECT_EQ(merged.unified, (std::map<std::string, std::string>{{"memory.high", "3"}, {"memory.min", "2"}}));
}

TEST(ResourcesTest, ZeroAndEmptyAskForNothing) {
  EXPECT_TRUE(AskedLimits({}).empty());
  Resources resources;
  resources.oom_score_adj = 7;  // of processes, not of the cgroup
  EXPECT_TRUE(AskedLimits(resources).empty());
}

TEST(ResourcesTest, EachMemberIsALimitOfItsOwn) {
  Resources resources;
  resources.cpu_period = 1;
  resources.cpu_quota = -1;
  resources.cpu_shares = 3;
  resources.memory_limit_bytes = 4;
  resources.memory_swap_limit_bytes = 5;
  resources.cpuset_cpus = "6";
  resources.cpuset_mems = "7";
  resources.hugepage_limits = {{"2MB", 8}, {"1GB", 0}, {"2MB", 9}};
  resources.unified = {{"memory.high", "10"}};
  CgroupLimits limits = AskedLimits(resources);
  EXPECT_EQ(limits.cpu_period, 1);
  EXPECT_EQ(limits.cpu_quota, -1);
  EXPECT_EQ(limits.cpu_shares, 3);
  EXPECT_EQ(limits.memory_bytes, 4);
  EXPECT_EQ(limits.memory_swap_bytes, 5);
  EXPECT_EQ(limits.cpuset_cpus, "6");
  EXPECT_EQ(limits.cpuset_mems, "7");
  EXPECT_EQ(limits.hugepages, (std::map<std::string, uint64_t>{{"1GB", 0}, {"2MB", 9}}));
  EXPECT_EQ(limits.unified, resources.unified);
}

TEST(ResourcesTest, WhatTheNodeCannotLimitIsLeftOut) {
  Resources resources;
  resources.memory_limit_bytes = 4;
  resources.memory_swap_limit_bytes = 5;
  resources.hugepage_limits = {{"2MB", 8}};
  resources.unified = {{"memory.high", "10"}};
  CgroupLimits limits = ClampToNode(AskedLimits(resources), {});
  EXPECT_EQ(limits.memory_bytes, 4);
  EXPECT_EQ(limits.memory_swap_bytes, std::nullopt);
  EXPECT_TRUE(limits.hugepages.empty());
  EXPECT_TRUE(limits.unified.empty());
  CgroupAbilities able;
  able.unified = able.swap = able.hugetlb = true;
  limits = ClampToNode(AskedLimits(resources), able);
  EXPECT_EQ(limits.memory_swap_bytes, 5);
  EXPECT_EQ(limits.hugepages.size(), 1u);
  EXPECT_EQ(limits.unified.size(), 1u);
}

}  // namespace
}  // namespace davit::sys
