#include "store/upper_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "store/test_dir.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

using ::testing::HasSubstr;

// Each case has a root of its own kind; the directory for temporary files may be an overlay itself.
class RootUpperProbeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounts, which takes root";
    ASSERT_OK(sys::MakeDirectories(root_, 0700));
    ASSERT_OK(sys::Mount("tmpfs", dir_.path(), "tmpfs", 0, "size=4m"));
    for (const char* name : {"lower", "upper", "work", "root"}) ASSERT_OK(sys::MakeDirectories(dir_ / name, 0700));
  }
  void TearDown() override {
    for (const std::string& path : {root_ + "/overlay-probe/merged", root_, dir_.path()}) {
      EXPECT_TRUE(sys::Unmount(path).ok());
    }
  }
  bool NothingStays() { return std::filesystem::is_empty(root_); }

  TestDir dir_;
  std::string root_ = dir_ / "root";
};

TEST_F(RootUpperProbeTest, AFileSystemThatHoldsUpperLayersIsFitAgainAndAgain) {
  ASSERT_OK(ProbeUpper(root_));
  ASSERT_OK(ProbeUpper(root_));
  EXPECT_TRUE(NothingStays());
}

TEST_F(RootUpperProbeTest, AnOverlayIsUnfitAndTheWayOutIsSaid) {
  ASSERT_OK(sys::MountOverlay({{dir_ / "lower"}, dir_ / "upper", dir_ / "work"}, root_));
  Status probed = ProbeUpper(root_);
  EXPECT_EQ(probed.code(), StatusCode::kFailedPrecondition) << probed.ToString();
  EXPECT_THAT(probed.message(), HasSubstr(root_ + ", which is on a file system of type overlay"));
  EXPECT_THAT(probed.message(), HasSubstr("choose a directory on a local file system"));
  EXPECT_TRUE(NothingStays());
}

TEST_F(RootUpperProbeTest, AReadOnlyFileSystemIsUnfit) {
  ASSERT_OK(sys::Mount("tmpfs", root_, "tmpfs", MS_RDONLY, ""));
  Status probed = ProbeUpper(root_);
  EXPECT_EQ(probed.code(), StatusCode::kFailedPrecondition) << probed.ToString();
  EXPECT_THAT(probed.message(), HasSubstr(root_ + " is read-only"));
}

TEST_F(RootUpperProbeTest, WithoutTrustedAttributesItIsUnfit) {
  ASSERT_OK(sys::Mount("ramfs", root_, "ramfs", 0, ""));
  Status probed = ProbeUpper(root_);
  EXPECT_EQ(probed.code(), StatusCode::kFailedPrecondition) << probed.ToString();
  EXPECT_TRUE(NothingStays());
}

TEST_F(RootUpperProbeTest, AFullDiskIsNoReasonAndNothingStays) {
  ASSERT_OK(sys::Mount("tmpfs", root_, "tmpfs", 0, "nr_inodes=4"));
  Status probed = ProbeUpper(root_);
  EXPECT_EQ(probed.code(), StatusCode::kResourceExhausted) << probed.ToString();
  EXPECT_TRUE(NothingStays());
}

TEST_F(RootUpperProbeTest, WhatAKilledProbeLeftIsTakenAway) {
  const std::string base = root_ + "/overlay-probe";
  for (const char* name : {"/lower", "/upper", "/work", "/merged"}) ASSERT_OK(sys::MakeDirectories(base + name, 0700));
  ASSERT_OK(sys::MountOverlay({{base + "/lower"}, base + "/upper", base + "/work"}, base + "/merged"));
  ASSERT_OK(ProbeUpper(root_));
  EXPECT_TRUE(NothingStays());
}

}  // namespace
}  // namespace davit::store
