#include "store/rootfs.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "store/test_dir.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr TrashOptions kNoRest{.batch = 10, .rest = std::chrono::milliseconds(0), .pressing_free_share = 0};

class RootfsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(trash_, Trash::Open(dir_.path(), kNoRest));
    RootfsOptions options;
    options.usage_max_entries = 50;
    options.now = [this] { return now_; };
    ASSERT_OK_AND_ASSIGN(rootfs_, Rootfs::Open(dir_.path(), *trash_, options));
  }
  void TearDown() override { EXPECT_TRUE(sys::Unmount(target_).ok()); }

  std::string MakeLayer(const std::string& name, const std::string& file, const std::string& text) {
    std::string layer = dir_ / name;
    EXPECT_TRUE(sys::MakeDirectories(layer, 0755).ok());
    WriteText(layer + "/" + file, text);
    return layer;
  }

  std::vector<ContainerId> Known() {
    Result<std::vector<ContainerId>> ids = rootfs_->List();
    EXPECT_TRUE(ids.ok());
    return ids.ok() ? *ids : std::vector<ContainerId>();
  }

  TestDir dir_;
  std::string target_ = dir_ / "run/rootfs";
  std::chrono::steady_clock::time_point now_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<Rootfs> rootfs_;
  ContainerId id_ = ContainerId::Mint();
};

TEST_F(RootfsTest, RefusesBadRequestsBeforeMakingAnything) {
  EXPECT_EQ(rootfs_->Mount(id_, {.layers = {}, .target = "relative"}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(rootfs_->Mount(ContainerId(), {.layers = {}, .target = target_}).code(), StatusCode::kInvalidArgument);
  Status missing = rootfs_->Mount(id_, {.layers = {dir_ / "no-layer"}, .target = target_});
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("no-layer"));
  std::vector<std::string> many(501, dir_.path());
  EXPECT_EQ(rootfs_->Mount(id_, {.layers = many, .target = target_}).code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(Known(), IsEmpty());
}

TEST_F(RootfsTest, UndoingWhatWasNeverDoneIsOk) {
  ASSERT_OK(rootfs_->Unmount(id_, target_));
  ASSERT_OK(rootfs_->RemoveWritable(id_));
  EXPECT_EQ(rootfs_->Usage(id_).code(), StatusCode::kNotFound);
}

TEST_F(RootfsTest, UsageCountsAllocatedBytesAndFilesOnceAndIsKeptForTenSeconds) {
  std::string upper = rootfs_->UpperDir(id_);
  ASSERT_OK(sys::MakeDirectories(upper + "/sub", 0755));
  WriteText(upper + "/sub/file", std::string(10'000, 'x'));
  ASSERT_EQ(::link((upper + "/sub/file").c_str(), (upper + "/other").c_str()), 0);
  ASSERT_EQ(::symlink("/", (upper + "/root").c_str()), 0);
  EXPECT_FALSE(rootfs_->LastUsage(id_).has_value());
  ASSERT_OK_AND_ASSIGN(WritableUsage usage, rootfs_->Usage(id_));
  EXPECT_GT(usage.wall_nanos, 0);
  EXPECT_EQ(usage.disk.inodes, 4u);  // upper, sub, file, root
  EXPECT_GE(usage.disk.bytes, 10'000u);
  EXPECT_LT(usage.disk.bytes, 100'000u);
  EXPECT_FALSE(usage.truncated);

  WriteText(upper + "/more", "x");
  now_ += std::chrono::seconds(9);
  EXPECT_EQ(rootfs_->Usage(id_)->disk.inodes, 4u);
  now_ += std::chrono::seconds(2);
  EXPECT_EQ(rootfs_->LastUsage(id_)->disk.inodes, 4u);  // looks at no disk, whatever its age
  EXPECT_EQ(rootfs_->Usage(id_)->disk.inodes, 5u);
  EXPECT_EQ(rootfs_->LastUsage(id_)->disk.inodes, 5u);
  EXPECT_EQ(rootfs_->LastUsageOfAll().inodes, 5u);

  ASSERT_OK(rootfs_->RemoveWritable(id_));
  EXPECT_EQ(rootfs_->Usage(id_).code(), StatusCode::kNotFound);
  EXPECT_FALSE(rootfs_->LastUsage(id_).has_value());
}

// The fixture's walks look at 50 entries a call.
TEST_F(RootfsTest, AHugeTreeIsCountedInPieces) {
  std::string upper = rootfs_->UpperDir(id_);
  ASSERT_OK(sys::MakeDirectories(upper + "/sub", 0755));
  for (int i = 0; i < 60; ++i) WriteText(upper + "/sub/" + std::to_string(i), "");
  ASSERT_OK_AND_ASSIGN(WritableUsage usage, rootfs_->Usage(id_));
  EXPECT_TRUE(usage.truncated && usage.unfinished);
  EXPECT_LT(usage.disk.inodes, 62u);
  ASSERT_OK_AND_ASSIGN(usage, rootfs_->Usage(id_));
  EXPECT_FALSE(usage.truncated || usage.unfinished);
  EXPECT_EQ(usage.disk.inodes, 62u);
  // The next walk's first piece does not take back what the last one knew.
  now_ += std::chrono::seconds(11);
  EXPECT_EQ(rootfs_->Usage(id_)->disk.inodes, 62u);
}

TEST_F(RootfsTest, WhatLiesDeepIsCountedToo) {
  // Deeper than a walk holds descriptors, and than a path may be long; with siblings on the way, which are met after
  // the directory was closed and opened again.
  constexpr int kLevels = 3000;
  std::string upper = rootfs_->UpperDir(id_);
  ASSERT_OK(sys::MakeDirectories(upper, 0755));
  sys::UniqueFd at = *sys::Open(upper, O_RDONLY | O_DIRECTORY);
  for (int level = 0; level < kLevels; ++level) {
    for (const char* name : {"a", "z"}) {
      ASSERT_TRUE(sys::UniqueFd(::openat(at.get(), name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)).valid());
    }
    ASSERT_EQ(::mkdirat(at.get(), "m", 0755), 0);
    at = sys::UniqueFd(::openat(at.get(), "m", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at.valid());
  }
  sys::UniqueFd hidden(::openat(at.get(), "hidden", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_OK(sys::WriteAll(hidden.get(), std::string(1 << 20, 'x')));
  ASSERT_OK_AND_ASSIGN(WritableUsage usage, rootfs_->Usage(id_));
  for (int calls = 0; usage.unfinished && calls < 1000; ++calls) usage = *rootfs_->Usage(id_);
  EXPECT_FALSE(usage.truncated);
  EXPECT_EQ(usage.disk.inodes, 1u + 3 * kLevels + 1);
  EXPECT_GE(usage.disk.bytes, 1u << 20);
  ASSERT_OK(rootfs_->RemoveWritable(id_));
  EXPECT_TRUE(trash_->WaitIdle(Deadline::After(std::chrono::seconds(60))));
  EXPECT_FALSE(Exists(upper));
}

// Need root: they mount overlays.
class RootRootfsTest : public RootfsTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting an overlay needs root";
    RootfsTest::SetUp();
  }
};

TEST_F(RootRootfsTest, TopmostLayerIsSeenAndWritesGoToTheUpperDirectory) {
  std::string bottom = MakeLayer("bottom", "a", "bottom");
  WriteText(bottom + "/b", "bottom");
  std::string top = MakeLayer("top", "a", "top");
  ASSERT_OK(rootfs_->Mount(id_, {.layers = {top, bottom}, .target = target_}));
  EXPECT_EQ(ReadText(target_ + "/a"), "top");
  EXPECT_EQ(ReadText(target_ + "/b"), "bottom");
  EXPECT_EQ(ModeOf(target_), 0755u);
  WriteText(target_ + "/b", "changed");
  EXPECT_EQ(ReadText(rootfs_->UpperDir(id_) + "/b"), "changed");
  EXPECT_EQ(ReadText(bottom + "/b"), "bottom");
  EXPECT_THAT(Known(), ElementsAre(id_));
}

TEST_F(RootRootfsTest, TheRootHasTheOwnerAndModeOfTheTopmostLayer) {
  std::string bottom = MakeLayer("bottom", "a", "x");
  std::string top = MakeLayer("top", "b", "x");
  ASSERT_EQ(::chmod(top.c_str(), 0551), 0);
  ASSERT_EQ(::chown(top.c_str(), 7, 8), 0);
  ASSERT_OK(rootfs_->Mount(id_, {.layers = {top, bottom}, .target = target_}));
  struct stat info {};
  ASSERT_EQ(::stat(target_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0551u);
  EXPECT_EQ(info.st_uid, 7u);
  EXPECT_EQ(info.st_gid, 8u);
}

TEST_F(RootRootfsTest, ALayerWithoutAnEntryForItsRootSaysNothingOfIt) {
  std::string bottom = MakeLayer("bottom/fs", "a", "x");
  std::string top = MakeLayer("top/fs", "b", "x");
  ASSERT_EQ(::chmod(bottom.c_str(), 0551), 0);
  ASSERT_EQ(::setxattr((top + "/..").c_str(), "trusted.davit.root", "unnamed", 7, 0), 0);
  EXPECT_EQ(RootLayer({top, bottom}), bottom);
  ASSERT_EQ(::setxattr((bottom + "/..").c_str(), "trusted.davit.root", "unnamed", 7, 0), 0);
  EXPECT_EQ(RootLayer({top, bottom}), bottom) << "made up there too, but nothing is below it";
  ASSERT_OK(rootfs_->Mount(id_, {.layers = {top, bottom}, .target = target_}));
  EXPECT_EQ(ModeOf(target_), 0551u);
}

TEST_F(RootRootfsTest, WhiteoutsAndOpaqueDirectoriesHide) {
  std::string bottom = MakeLayer("bottom", "gone", "x");
  ASSERT_OK(sys::MakeDirectories(bottom + "/dir", 0755));
  WriteText(bottom + "/dir/hidden", "x");
  std::string top = MakeLayer("top", "kept", "x");
  ASSERT_EQ(::mknod((top + "/gone").c_str(), S_IFCHR, 0), 0);
  ASSERT_OK(sys::MakeDirectories(top + "/dir", 0755));
  ASSERT_EQ(::setxattr((top + "/dir").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  ASSERT_OK(rootfs_->Mount(id_, {.layers = {top, bottom}, .target = target_}));
  EXPECT_FALSE(Exists(target_ + "/gone"));
  EXPECT_TRUE(Exists(target_ + "/kept"));
  EXPECT_TRUE(Exists(target_ + "/dir"));
  EXPECT_FALSE(Exists(target_ + "/dir/hidden"));
}

TEST_F(RootRootfsTest, EveryCallMayBeRepeated) {
  RootfsMount mount{.layers = {MakeLayer("layer", "a", "x")}, .target = target_};
  ASSERT_OK(rootfs_->Mount(id_, mount));
  WriteText(target_ + "/new", "kept");
  ASSERT_OK(rootfs_->Mount(id_, mount));
  ASSERT_OK(rootfs_->Unmount(id_, target_));
  EXPECT_FALSE(sys::IsMountPoint(target_).value_or(true));
  ASSERT_OK(rootfs_->Unmount(id_, target_));

  // A volatile overlay leaves a mark that makes the kernel refuse the next mount.
  ASSERT_OK(rootfs_->Mount(id_, mount));
  EXPECT_EQ(ReadText(target_ + "/new"), "kept");
  ASSERT_OK(rootfs_->Unmount(id_, target_));
  ASSERT_OK(rootfs_->RemoveWritable(id_));
  ASSERT_OK(rootfs_->RemoveWritable(id_));
  EXPECT_THAT(Known(), IsEmpty());
  EXPECT_TRUE(trash_->WaitIdle(Deadline::After(std::chrono::seconds(60))));
  EXPECT_TRUE(std::filesystem::is_empty(trash_->dir()));
}

TEST_F(RootRootfsTest, OtherMountAtTheTargetIsRefused) {
  RootfsMount mount{.layers = {MakeLayer("layer", "a", "x")}, .target = target_};
  ASSERT_OK(rootfs_->Mount(ContainerId::Mint(), mount));
  EXPECT_EQ(rootfs_->Mount(id_, mount).code(), StatusCode::kFailedPrecondition);
  ASSERT_OK(rootfs_->Unmount(id_, target_));
  ASSERT_OK(sys::Mount("tmpfs", target_, "tmpfs", 0, "size=64k"));
  EXPECT_EQ(rootfs_->Mount(id_, mount).code(), StatusCode::kFailedPrecondition);
}

TEST_F(RootRootfsTest, ReadOnlyRootTakesNoWrites) {
  for (size_t count : {0u, 1u, 2u}) {
    std::vector<std::string> layers = {MakeLayer("top", "a", "x"), MakeLayer("bottom", "b", "x")};
    layers.resize(count);
    RootfsMount mount{.layers = layers, .target = target_, .read_only = true};
    ASSERT_OK(rootfs_->Mount(id_, mount));
    ASSERT_OK(rootfs_->Mount(id_, mount));
    EXPECT_EQ(Exists(target_ + "/a"), count > 0);
    EXPECT_EQ(::open((target_ + "/new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644), -1);
    EXPECT_EQ(errno, EROFS);
    ASSERT_OK(rootfs_->Unmount(id_, target_));
  }
}

TEST_F(RootRootfsTest, ImageWithoutLayersIsAnEmptyRoot) {
  ASSERT_OK(rootfs_->Mount(id_, {.layers = {}, .target = target_}));
  EXPECT_TRUE(std::filesystem::is_empty(target_));
  WriteText(target_ + "/a", "x");
}

TEST_F(RootRootfsTest, ManyLayers) {
  std::vector<std::string> layers;
  for (int i = 0; i < 120; ++i) {
    std::string name = "a-layer-with-a-name-as-long-as-a-digest-in-hex-would-be-and-so-on-" + std::to_string(i);
    layers.push_back(MakeLayer(name, "f" + std::to_string(i), "x"));
  }
  Status mounted = rootfs_->Mount(id_, {.layers = layers, .target = target_});
  // Kernels before 6.8 take one page of options.
  if (mounted.code() == StatusCode::kInvalidArgument) GTEST_SKIP() << mounted.ToString();
  ASSERT_OK(mounted);
  EXPECT_TRUE(Exists(target_ + "/f0"));
  EXPECT_TRUE(Exists(target_ + "/f119"));
}

}  // namespace
}  // namespace davit::store
