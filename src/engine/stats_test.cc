#include "engine/stats.h"

#include <gtest/gtest.h>

namespace davit::engine {
namespace {

TEST(StatsSumTest, LeavesOutWhatOneContainerDoesNotTell) {
  ContainerStats first;
  first.cgroup.emplace();
  first.cgroup->cpu_usage_nanos = 5;
  first.cgroup->memory_usage_bytes = 7;
  first.cgroup->memory_limit_bytes = 100;
  first.cgroup->cpu_pressure.emplace();
  ContainerStats second;
  second.cgroup.emplace();
  second.cgroup->cpu_usage_nanos = 6;
  ContainerStats ended;
  sys::CgroupStats sum = Sum({first, second, ended});
  EXPECT_EQ(sum.cpu_usage_nanos, 11U);
  EXPECT_EQ(sum.memory_usage_bytes, std::nullopt);
  EXPECT_EQ(sum.memory_limit_bytes, std::nullopt);
  EXPECT_FALSE(sum.cpu_pressure);
  EXPECT_EQ(Sum({}).cpu_usage_nanos, 0U);
}

}  // namespace
}  // namespace davit::engine
