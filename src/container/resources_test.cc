#include "container/resources.h"

#include <gtest/gtest.h>

#include <functional>

namespace davit::container {
namespace {

sys::CgroupAbilities Node() {
  sys::CgroupAbilities node;
  node.swap = true;
  node.hugetlb = true;
  node.hugepage_sizes = {"1GB", "2MB"};
  node.cpus = "0-3";
  node.mems = "0";
  return node;
}

TEST(ContainerResourcesTest, ValidationNamesTheField) {
  struct Case {
    const char* field;
    std::function<void(sys::Resources&)> change;
  };
  const std::vector<Case> cases = {
      {"linux.resources.cpu_period", [](sys::Resources& r) { r.cpu_period = 999; }},
      {"linux.resources.cpu_period", [](sys::Resources& r) { r.cpu_period = 1'000'001; }},
      {"linux.resources.cpu_period", [](sys::Resources& r) { r.cpu_period = -1; }},
      {"linux.resources.cpu_quota", [](sys::Resources& r) { r.cpu_quota = 999; }},
      {"linux.resources.cpu_quota", [](sys::Resources& r) { r.cpu_quota = -2; }},
      {"linux.resources.cpu_shares", [](sys::Resources& r) { r.cpu_shares = 1; }},
      {"linux.resources.cpu_shares", [](sys::Resources& r) { r.cpu_shares = 262'145; }},
      {"linux.resources.memory_limit_in_bytes", [](sys::Resources& r) { r.memory_limit_bytes = 4096; }},
      {"linux.resources.memory_limit_in_bytes", [](sys::Resources& r) { r.memory_limit_bytes = -5; }},
      {"linux.resources.memory_swap_limit_in_bytes", [](sys::Resources& r) { r.memory_swap_limit_bytes = 64 << 20; }},
      {"linux.resources.memory_swap_limit_in_bytes",
       [](sys::Resources& r) {
         r.memory_limit_bytes = 64 << 20;
         r.memory_swap_limit_bytes = 32 << 20;
       }},
      {"linux.resources.oom_score_adj", [](sys::Resources& r) { r.oom_score_adj = 1001; }},
      {"linux.resources.cpuset_cpus", [](sys::Resources& r) { r.cpuset_cpus = "0-"; }},
      {"linux.resources.cpuset_cpus", [](sys::Resources& r) { r.cpuset_cpus = "3-1"; }},
      {"linux.resources.cpuset_cpus", [](sys::Resources& r) { r.cpuset_cpus = "0-4"; }},
      {"linux.resources.cpuset_mems", [](sys::Resources& r) { r.cpuset_mems = "1"; }},
      {"linux.resources.hugepage_limits",
       [](sys::Resources& r) {
         r.hugepage_limits = {{"64MB", 0}};
       }},
      {"linux.resources.hugepage_limits",
       [](sys::Resources& r) {
         r.hugepage_limits = {{"2MB", 0}, {"2MB", 1}};
       }},
      {"linux.resources.unified",
       [](sys::Resources& r) {
         r.unified = {{"memory.high", "1"}};
       }},
  };
  for (const Case& c : cases) {
    sys::Resources resources;
    c.change(resources);
    Status status = ValidateResources(resources, Node());
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.field;
    EXPECT_NE(status.message().find(c.field), std::string::npos) << status.message() << " without " << c.field;
  }
}

TEST(ContainerResourcesTest, WhatKubeletsSendIsTaken) {
  sys::Resources resources;
  resources.cpu_period = 100'000;
  resources.cpu_quota = 50'000;
  resources.cpu_shares = 2;
  resources.memory_limit_bytes = 64 << 20;
  resources.memory_swap_limit_bytes = 64 << 20;
  resources.oom_score_adj = -997;
  resources.hugepage_limits = {{"2MB", 0}, {"1GB", 0}};
  sys::CgroupAbilities node = Node();
  EXPECT_EQ(ValidateResources(resources, node), Status());
  node.swap = false;  // sent all the same
  EXPECT_EQ(ValidateResources(resources, node), Status());
  node.hugetlb = false;  // no pages are asked for
  EXPECT_EQ(ValidateResources(resources, node), Status());
  resources.hugepage_limits[0].limit = 2 << 20;
  EXPECT_EQ(ValidateResources(resources, node).code(), StatusCode::kInvalidArgument);
  node = Node();
  node.unified = true;
  node.controllers = {"io", "memory"};
  resources.hugepage_limits.clear();
  resources.unified = {{"memory.min", "0"}, {"memory.swap.max", "0"}, {"io.max", "8:0 rbps=1"}};
  EXPECT_EQ(ValidateResources(resources, node), Status());
}

TEST(ContainerResourcesTest, UnifiedTakesNamesOfLimitsOnly) {
  sys::CgroupAbilities node = Node();
  node.unified = true;
  node.controllers = {"memory"};
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"cgroup.procs", "1"}, {"cgroup.kill", "1"},    {"../memory.max", "1"}, {"memory..max", "1"},
      {"memory/max", "1"},   {".max", "1"},           {"memory", "1"},        {"", "1"},
      {"memory.max", ""},    {"memory.max", "1\n2"},  {"memory.max ", "1"},   {"memory.max", std::string("1\0", 2)},
      {"no.such", "1"},      {"io.max", "8:0 rbps=1"}};
  for (const auto& [name, value] : bad) {
    sys::Resources resources;
    resources.unified = {{name, value}};
    Status status = ValidateResources(resources, node);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_NE(status.message().find("linux.resources.unified["), std::string::npos) << status.message();
  }
}

TEST(ContainerResourcesTest, AMemoryLimitAloneMeansNoSwap) {
  sys::Resources resources;
  resources.memory_limit_bytes = 64 << 20;
  sys::CgroupAbilities node = Node();
  EXPECT_EQ(ToCgroupLimits(resources, node).memory_swap_bytes, 64 << 20);
  resources.memory_swap_limit_bytes = 128 << 20;
  EXPECT_EQ(ToCgroupLimits(resources, node).memory_swap_bytes, 128 << 20);
  resources.memory_swap_limit_bytes = -1;
  EXPECT_EQ(ToCgroupLimits(resources, node).memory_swap_bytes, -1);
  node.swap = false;
  EXPECT_EQ(ToCgroupLimits(resources, node).memory_swap_bytes, std::nullopt);
}

TEST(ContainerResourcesTest, UnsetLimitsAreNotPassedToTheRuntime) {
  oci::Resources resources = ToRuntimeResources({}, Node(), -1);
  EXPECT_FALSE(resources.memory.limit);
  EXPECT_FALSE(resources.memory.swap);
  EXPECT_FALSE(resources.cpu.shares);
  EXPECT_FALSE(resources.cpu.quota);
  EXPECT_FALSE(resources.pids_limit);
  EXPECT_EQ(ToRuntimeResources({}, Node(), 64).pids_limit, 64);
}

}  // namespace
}  // namespace davit::container
