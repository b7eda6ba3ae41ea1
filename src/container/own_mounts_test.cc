#include "container/own_mounts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/atomic_file.h"
#include "sys/mounts.h"
#include "sys/temp_dir.h"
#include "sys/user_namespace.h"

namespace davit::container {
namespace {

class RootOwnMountsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounts, which takes root";
    ASSERT_TRUE(sys::MakeDirectories(dir_.At("layer/sub"), 0755).ok());
    ASSERT_TRUE(sys::WriteFileAtomic(dir_.At("layer/sub/file"), "image", 0644, sys::Durability::kAtomic).ok());
  }
  void TearDown() override { EXPECT_TRUE(RemoveOwnMounts(mounts_).ok()); }

  sys::TempDir dir_;
  std::string mounts_ = dir_.At("mounts");
};

TEST_F(RootOwnMountsTest, ASubPathOfAnImageIsMountedReadOnly) {
  ASSERT_TRUE(MakeOwnMounts(mounts_, {{.index = 3, .layers = {dir_.At("layer")}, .sub_path = "sub"}}, "").ok());
  EXPECT_EQ(*sys::ReadFile(OwnMountTarget(mounts_, 3) + "/file", 100), "image");
  EXPECT_LT(::open((OwnMountTarget(mounts_, 3) + "/new").c_str(), O_CREAT | O_WRONLY, 0600), 0);
  EXPECT_EQ(errno, EROFS);
  ASSERT_TRUE(RemoveOwnMounts(mounts_).ok());
  EXPECT_TRUE(RemoveOwnMounts(mounts_).ok());
  EXPECT_TRUE(sys::RemoveTree(mounts_).ok());
  EXPECT_EQ(*sys::ReadFile(dir_.At("layer/sub/file"), 100), "image");
}

TEST_F(RootOwnMountsTest, ALinkInTheImageDoesNotLeadOutOfIt) {
  ASSERT_TRUE(sys::MakeDirectories(dir_.At("outside"), 0755).ok());
  ASSERT_EQ(::symlink(dir_.At("outside").c_str(), dir_.At("layer/link").c_str()), 0);
  Status made = MakeOwnMounts(mounts_, {{.index = 0, .layers = {dir_.At("layer")}, .sub_path = "link"}}, "");
  EXPECT_EQ(made.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(made.message().find("mounts[0].image_sub_path"), std::string::npos) << made.message();
}

TEST_F(RootOwnMountsTest, ASubPathOfAVolumeIsWritableAndALinkInItDoesNotLeadOutOfIt) {
  ASSERT_TRUE(sys::MakeDirectories(dir_.At("outside"), 0755).ok());
  ASSERT_EQ(::symlink(dir_.At("outside").c_str(), dir_.At("layer/link").c_str()), 0);
  const OwnMount good{.index = 1, .host_path = dir_.At("layer"), .sub_path = "sub"};
  ASSERT_TRUE(MakeOwnMounts(mounts_, {good}, "").ok());
  EXPECT_TRUE(sys::WriteFileAtomic(OwnMountTarget(mounts_, 1) + "/new", "x", 0600, sys::Durability::kAtomic).ok());
  EXPECT_EQ(*sys::ReadFile(dir_.At("layer/sub/new"), 100), "x");
  Status made = MakeOwnMounts(mounts_, {{.index = 2, .host_path = dir_.At("layer"), .sub_path = "link"}}, "");
  EXPECT_EQ(made.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(made.message().find("mounts[2].volume_sub_path"), std::string::npos) << made.message();
}

TEST_F(RootOwnMountsTest, RemovalLeavesTheSourcesOwnMounts) {
  // The source is a shared mount with a mount below: taking the copy away must not take that away.
  const std::string source = dir_.At("source");
  ASSERT_TRUE(sys::MakeDirectories(source, 0755).ok());
  ASSERT_TRUE(sys::Mount("a", source, "tmpfs", 0, "").ok());
  ASSERT_TRUE(sys::Mount("", source, "", MS_SHARED, "").ok());
  ASSERT_TRUE(sys::MakeDirectories(source + "/below", 0755).ok());
  ASSERT_TRUE(sys::Mount("b", source + "/below", "tmpfs", 0, "").ok());
  sys::IdMap map = {{{0, 1'000'000, 65536}}, {{0, 1'000'000, 65536}}};
  ASSERT_TRUE(sys::CreatePinnedNamespacesIn({map, dir_.At("user")}, {}, {}).ok());
  Status made = MakeOwnMounts(mounts_, {{.index = 0, .host_path = source, .slave = true}}, dir_.At("user"));
  if (made.ok()) {
    struct stat info {};
    EXPECT_EQ(::stat((OwnMountTarget(mounts_, 0) + "/below").c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 1'000'000u);
  }
  EXPECT_TRUE(RemoveOwnMounts(mounts_).ok());
  EXPECT_TRUE(*sys::IsMountPoint(source + "/below"));
  EXPECT_TRUE(sys::Unmount(source).ok());
  EXPECT_TRUE(sys::Unpin(dir_.At("user")).ok());
  if (made.code() == StatusCode::kFailedPrecondition) GTEST_SKIP() << made.message();
  EXPECT_TRUE(made.ok()) << made.ToString();
}

}  // namespace
}  // namespace davit::container
