#include "pod/resources.h"

#include <gtest/gtest.h>

namespace davit::pod {
namespace {

sys::CgroupAbilities Node() {
  sys::CgroupAbilities node;
  node.swap = true;
  node.cpus = "0-3";
  node.mems = "0";
  return node;
}

TEST(PodResourcesTest, OverheadIsOnTopOfTheContainers) {
  PodSpec spec;
  spec.resources.memory_limit_bytes = 64 << 20;
  spec.resources.cpu_quota = 50'000;
  spec.resources.cpu_period = 100'000;
  spec.resources.cpu_shares = 512;
  spec.overhead.memory_limit_bytes = 16 << 20;
  spec.overhead.cpu_quota = 20'000;
  spec.overhead.cpu_period = 200'000;
  spec.overhead.cpu_shares = 100;
  sys::CgroupLimits limits = PodLimits(spec, Node());
  EXPECT_EQ(limits.memory_bytes, 80 << 20);
  EXPECT_EQ(limits.cpu_quota, 60'000);
  EXPECT_EQ(limits.cpu_shares, 612);
}

TEST(PodResourcesTest, WithoutALimitOverheadMakesNone) {
  PodSpec spec;
  spec.overhead.memory_limit_bytes = 16 << 20;
  spec.overhead.cpu_quota = 20'000;
  EXPECT_TRUE(PodLimits(spec, Node()).empty());
  spec.resources.cpu_quota = -1;
  EXPECT_EQ(PodLimits(spec, Node()).cpu_quota, -1);
}

TEST(PodResourcesTest, ValidationNamesTheField) {
  sys::Resources resources;
  resources.cpu_shares = 1;
  Status status = ValidateResources(resources, Node(), "linux.resources");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("linux.resources.cpu_shares"), std::string::npos);
  // An overhead is an amount: a small one is fine, a negative one is not.
  EXPECT_TRUE(ValidateResources(resources, Node(), "linux.overhead").ok());
  resources.memory_limit_bytes = -1;
  status = ValidateResources(resources, Node(), "linux.overhead");
  EXPECT_NE(status.message().find("linux.overhead.memory_limit_in_bytes"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace davit::pod
