#include "sys/systemd_limits.h"

#include <gtest/gtest.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

class SystemdLimitsTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomic(dir_.path() + "/" + name, text + "\n", 0600, Durability::kAtomic).ok());
  }
  Result<UnitLimits> Read() { return ReadUnitLimits(dir_.path()); }

  TempDir dir_;
};

TEST_F(SystemdLimitsTest, FilesBecomeProperties) {
  Write("memory.min", "0");
  Write("memory.low", "4096");
  Write("memory.high", "50331648");
  Write("memory.max", "67108864");
  Write("pids.max", "77");
  Write("memory.swap.max", "max");
  Write("cpu.weight", "20");
  Write("cpu.max", "20000 100000");
  Write("cpuset.cpus", "0-1,9");
  Write("cpuset.mems", "");
  Result<UnitLimits> limits = Read();
  ASSERT_TRUE(limits.ok()) << limits.status().ToString();
  EXPECT_EQ(limits->memory_min, 0u);
  EXPECT_EQ(limits->memory_low, 4096u);
  EXPECT_EQ(limits->memory_high, 50331648u);
  EXPECT_EQ(limits->memory_max, 67108864u);
  EXPECT_EQ(limits->tasks, 77u);
  EXPECT_EQ(limits->swap_max, UnitLimits::kNoLimit);
  EXPECT_EQ(limits->cpu_weight, 20u);
  EXPECT_EQ(limits->cpu_quota_per_second, 200000u);
  EXPECT_EQ(limits->cpu_period, 100000u);
  EXPECT_EQ(limits->cpus, (std::vector<uint8_t>{3, 2}));
  EXPECT_EQ(limits->memory_nodes, std::vector<uint8_t>{});
}

TEST_F(SystemdLimitsTest, AFileThatIsNotThereIsNoLimitOfOurs) {
  Result<UnitLimits> limits = Read();
  ASSERT_TRUE(limits.ok());
  EXPECT_FALSE(limits->memory_max || limits->swap_max || limits->cpu_weight || limits->cpu_period || limits->cpus);
}

TEST_F(SystemdLimitsTest, AQuotaIsNotMadeSmallerByRounding) {
  Write("cpu.max", "1000 3000");
  EXPECT_EQ(Read()->cpu_quota_per_second, 333334u);
  Write("cpu.max", "max 100000");
  EXPECT_EQ(Read()->cpu_quota_per_second, UnitLimits::kNoLimit);
}

TEST_F(SystemdLimitsTest, WhatTheKernelDoesNotWriteIsAnError) {
  for (const char* text : {"", "x 100000", "1000", "1000 0", "1000 100000 1", "99999999999999999 1000"}) {
    Write("cpu.max", text);
    EXPECT_EQ(Read().code(), StatusCode::kInternal) << text;
  }
  Write("cpu.max", "max 100000");
  for (const char* text : {"a", "3-1", "0-99999", ",", "1,,2"}) {
    Write("cpuset.cpus", text);
    EXPECT_EQ(Read().code(), StatusCode::kInternal) << text;
  }
}

}  // namespace
}  // namespace davit::sys
