#include "store/filesystem.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "store/test_dir.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

constexpr TrashOptions kNoRest{.batch = 10, .rest = std::chrono::milliseconds(0), .pressing_free_share = 0};

TEST(FilesystemTest, ProcIsItsOwnMountPoint) {
  EXPECT_EQ(MountPointOf("/proc").value_or(""), "/proc");
  EXPECT_EQ(MountPointOf("/proc/no such file").code(), StatusCode::kNotFound);
}

TEST(FilesystemTest, UsageIsTheSumOfRecords) {
  TestDir dir;
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(dir / "davit.db"));
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir.path(), kNoRest));
  ASSERT_OK_AND_ASSIGN(auto layers, DirectoryLayers::Open(dir.path(), *database, *trash));
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir.path()));
  ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers->Begin(TestDigest(1)));
  ASSERT_OK(layers->Commit(std::move(staging), {.size = 1000, .entries = 7}));
  ASSERT_OK_AND_ASSIGN(oci::Digest hello,
                       oci::Digest::Parse("sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"));
  ASSERT_OK(content->Put(hello, "hello"));
  ASSERT_OK_AND_ASSIGN(FilesystemUsage usage, UsageOf(dir.path(), *layers, *content));
  EXPECT_EQ(usage.used, (DiskUsage{layers->Usage().bytes + 5, layers->Usage().inodes + 1}));
  EXPECT_FALSE(usage.mount_point.empty());
  EXPECT_GE(usage.capacity_bytes, usage.available_bytes);
  EXPECT_GT(usage.wall_nanos, 0);
}

TEST(RootFilesystemTest, FindsTheMountThatHoldsThePath) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting a tmpfs needs root";
  TestDir dir;
  std::string below = dir / "mount/below";
  ASSERT_OK(sys::MakeDirectories(dir / "mount", 0755));
  ASSERT_OK(sys::Mount("tmpfs", dir / "mount", "tmpfs", 0, "size=64k"));
  EXPECT_TRUE(sys::MakeDirectories(below, 0755).ok());
  EXPECT_EQ(MountPointOf(below).value_or(""), dir / "mount");
  EXPECT_TRUE(sys::Unmount(dir / "mount").ok());
}

}  // namespace
}  // namespace davit::store
