#include "store/trash.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "store/test_dir.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

constexpr TrashOptions kNoRest{.batch = 10, .rest = std::chrono::milliseconds(0), .pressing_free_share = 0};
// From the call on: the program may have run for longer than that before the test.
Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

void MakeTree(const std::string& path, int files) {
  ASSERT_OK(sys::MakeDirectories(path + "/sub/deeper", 0755));
  for (int i = 0; i < files; ++i) WriteText(path + "/sub/f" + std::to_string(i), "x");
  ASSERT_EQ(::symlink("/etc/passwd", (path + "/link").c_str()), 0);
}

class TrashTest : public ::testing::Test {
 protected:
  [[nodiscard]] bool Empty(const Trash& trash) const { return std::filesystem::is_empty(trash.dir()); }
  TestDir dir_;
};

TEST_F(TrashTest, DiscardedTreeIsGoneAtOnceAndDeletedLater) {
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
  MakeTree(dir_ / "tree", 100);
  ASSERT_OK(trash->Discard(dir_ / "tree"));
  EXPECT_FALSE(Exists(dir_ / "tree"));
  EXPECT_TRUE(trash->WaitIdle(Soon()));
  EXPECT_TRUE(Empty(*trash));
  EXPECT_TRUE(Exists("/etc/passwd"));
}

TEST_F(TrashTest, DiscardingWhatIsNotThereIsOk) {
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
  ASSERT_OK(trash->Discard(dir_ / "nothing"));
}

TEST_F(TrashTest, NothingIsDeletedDuringAPause) {
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
  MakeTree(dir_ / "tree", 5);
  {
    PauseDeletion first(*trash);
    PauseDeletion second(*trash);
    { PauseDeletion moved = std::move(first); }
    ASSERT_OK(trash->Discard(dir_ / "tree"));
    EXPECT_FALSE(trash->WaitIdle(Deadline::After(std::chrono::milliseconds(20))));
    EXPECT_FALSE(Empty(*trash));
  }
  EXPECT_TRUE(trash->WaitIdle(Soon()));
  EXPECT_TRUE(Empty(*trash));
}

TEST_F(TrashTest, PauseMayOutliveTheTrash) {
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
  PauseDeletion pause(*trash);
  MakeTree(dir_ / "tree", 5);
  ASSERT_OK(trash->Discard(dir_ / "tree"));
  trash.reset();  // ends although it is held
}

TEST_F(TrashTest, FullDiskOverridesThePause) {
  TrashOptions options = kNoRest;
  options.pressing_free_share = 1.1;  // any disk is that full
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), options));
  PauseDeletion pause(*trash);
  MakeTree(dir_ / "tree", 50);
  ASSERT_OK(trash->Discard(dir_ / "tree"));
  EXPECT_TRUE(trash->WaitIdle(Soon()));
  EXPECT_TRUE(Empty(*trash));
}

TEST_F(TrashTest, GoesOnAfterARestart) {
  {
    ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
    PauseDeletion pause(*trash);
    MakeTree(dir_ / "tree", 50);
    ASSERT_OK(trash->Discard(dir_ / "tree"));
    trash.reset();
  }
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
  EXPECT_FALSE(Empty(*trash));
  trash->Resume();
  EXPECT_TRUE(trash->WaitIdle(Soon()));
  EXPECT_TRUE(Empty(*trash));
}

TEST_F(TrashTest, VeryDeepTreesNeedNoDeepStack) {
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
  ASSERT_EQ(::mkdir((dir_ / "deep").c_str(), 0755), 0);
  sys::UniqueFd at(::open((dir_ / "deep").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 1100; ++i) {  // longer than PATH_MAX, and more than the usual descriptors
    ASSERT_EQ(::mkdirat(at.get(), "nested", 0755), 0);
    at = sys::UniqueFd(::openat(at.get(), "nested", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at.valid());
  }
  ASSERT_OK(trash->Discard(dir_ / "deep"));
  EXPECT_TRUE(trash->WaitIdle(Soon()));
  EXPECT_TRUE(Empty(*trash));
}

// Need root: they mount.
class RootTrashTest : public TrashTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  }
};

TEST_F(RootTrashTest, MountPointIsRefusedAndAMountBelowIsLeftAlone) {
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_.path(), kNoRest));
  MakeTree(dir_ / "tree", 1);
  std::string mounted = dir_ / "tree/sub/deeper";
  ASSERT_OK(sys::Mount("tmpfs", mounted, "tmpfs", 0, "size=64k"));
  WriteText(mounted + "/precious", "data");
  EXPECT_EQ(trash->Discard(mounted).code(), StatusCode::kFailedPrecondition);
  ASSERT_OK(trash->Discard(dir_ / "tree"));
  EXPECT_TRUE(trash->WaitIdle(Soon()));
  std::string below;
  for (const auto& entry : std::filesystem::directory_iterator(trash->dir()))
    below = entry.path().string() + "/sub/deeper";
  EXPECT_EQ(ReadText(below + "/precious"), "data");
  EXPECT_TRUE(sys::Unmount(below).ok());
}

TEST_F(RootTrashTest, OtherFilesystemIsEmptiedAtOnce) {
  ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir_ / "root", kNoRest));
  std::string other = dir_ / "other";
  ASSERT_OK(sys::MakeDirectories(other, 0755));
  ASSERT_OK(sys::Mount("tmpfs", other, "tmpfs", 0, "size=64k"));
  MakeTree(other + "/tree", 1);
  Status discarded = trash->Discard(other + "/tree");
  EXPECT_TRUE(discarded.ok()) << discarded.ToString();
  EXPECT_FALSE(Exists(other + "/tree"));
  EXPECT_TRUE(sys::Unmount(other).ok());
}

}  // namespace
}  // namespace davit::store
