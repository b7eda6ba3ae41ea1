#include "native/cgroups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/strings.h"
#include "native/resource_files.h"

namespace davit::native {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Place(const std::string& path, bool systemd) {
  auto place = CgroupPlaceOf(path, "id", systemd);
  return place.ok() ? place->cgroup : place.status().message();
}

TEST(CgroupPlaceTest, FollowsTheRulesOfTheOciRuntimes) {
  EXPECT_EQ(Place("/a/b", false), "/a/b");
  EXPECT_EQ(Place("a/b/", false), "/a/b");
  EXPECT_EQ(Place("", false), "/id");
  EXPECT_THAT(Place("/a/../b", false), StartsWith("linux.cgroupsPath:"));
  EXPECT_THAT(Place("/", false), HasSubstr("is the root"));
  EXPECT_EQ(Place("kubepods-pod1.slice:cri:x", true), "/kubepods.slice/kubepods-pod1.slice/cri-x.scope");
  EXPECT_EQ(Place("", true), "/system.slice/davit-id.scope");
  EXPECT_EQ(Place(":p:n", true), "/system.slice/p-n.scope");
  EXPECT_THAT(Place("/a/b", true), HasSubstr("expected slice:prefix:name"));
  EXPECT_THAT(Place("system.slice:a:b/c", true), HasSubstr("slash"));
}

TEST(CommonLimitsTest, ZeroIsNotSet) {
  oci::Resources resources;
  resources.memory.limit = 0;
  resources.cpu.shares = 0;
  resources.cpu.quota = 0;
  EXPECT_TRUE(CommonLimits(resources).empty());
  resources.cpu.shares = 1;
  EXPECT_EQ(CommonLimits(resources).cpu_shares, 2) << "the kernel's least";
  resources.cpu.shares = UINT64_MAX;
  EXPECT_EQ(CommonLimits(resources).cpu_shares, 262144);
}

class RootCgroupsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto layout = sys::CgroupLayout::Detect();
    ASSERT_TRUE(layout.ok());
    layout_ = *layout;
    ASSERT_TRUE(sys::CreateCgroup(layout_, cgroup_).ok());
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveCgroup(layout_, cgroup_).ok()); }
  std::string ValueOf(const std::string& controller, const std::string& v1, const std::string& v2) {
    std::string directory = layout_.Directory(controller, cgroup_).value_or("");
    auto text = sys::ReadFile(directory + "/" + (layout_.V1MountPoint(controller) ? v1 : v2), 4096);
    return text.ok() ? std::string(Trim(*text)) : text.status().message();
  }

  sys::CgroupLayout layout_;
  const std::string cgroup_ = "/davit-native-test-" + std::to_string(::getpid());
};

TEST_F(RootCgroupsTest, WritesWhatCriHasNot) {
  oci::Resources resources;
  resources.memory.limit = 64 << 20;
  resources.memory.reservation = 32 << 20;
  resources.pids_limit = 17;
  resources.cpu.shares = 512;
  resources.cpu.quota = 50000;
  resources.cpu.period = 100000;
  resources.cpu.burst = 10000;
  Status status = ApplyResources(layout_, cgroup_, resources, true);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(ValueOf("pids", "pids.max", "pids.max"), "17");
  EXPECT_EQ(ValueOf("memory", "memory.soft_limit_in_bytes", "memory.low"), "33554432");
  EXPECT_EQ(ValueOf("cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "10000");
  resources = {};
  resources.pids_limit = -1;
  ASSERT_TRUE(ApplyResources(layout_, cgroup_, resources, false).ok());
  EXPECT_EQ(ValueOf("pids", "pids.max", "pids.max"), "max");
  EXPECT_EQ(ValueOf("memory", "memory.limit_in_bytes", "memory.max"), "67108864") << "what is not set stays";
}

TEST_F(RootCgroupsTest, WhatIsRefusedIsNamed) {
  oci::Resources resources;
  resources.network.class_id = 1;
  Status status = ApplyResources(layout_, cgroup_, resources, false);
  if (!layout_.V1MountPoint("net_cls")) {
    EXPECT_THAT(status.message(), StartsWith("linux.resources.network.classID: "));
  }
  resources = {};
  resources.rdma["nowhere0"].hca_handles = 1;
  EXPECT_THAT(ApplyResources(layout_, cgroup_, resources, false).message(), HasSubstr("linux.resources.rdma"));
}

TEST_F(RootCgroupsTest, OneWithProcessesInItIsSomebodyElses) {
  EXPECT_TRUE(CheckCgroupIsFree(layout_, {cgroup_, false}).ok());
  pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  ASSERT_TRUE(sys::AddProcess(layout_, cgroup_, pid).ok());
  EXPECT_EQ(CheckCgroupIsFree(layout_, {cgroup_, false}).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(sys::KillCgroup(layout_, cgroup_, Deadline::After(std::chrono::seconds(20))).ok());
}

}  // namespace
}  // namespace davit::native
