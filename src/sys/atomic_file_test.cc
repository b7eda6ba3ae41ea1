#include "sys/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/mounts.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

bool Exists(const std::string& path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0;
}

size_t CountEntries(const std::string& path) {
  size_t count = 0;
  DIR* dir = ::opendir(path.c_str());
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count - 2;
}

TEST(AtomicFileTest, ReplacesContentAndSetsTheExactMode) {
  TempDir dir;
  mode_t before = ::umask(077);
  EXPECT_TRUE(WriteFileAtomic(dir.At("f"), "one", 0644, Durability::kAtomic).ok());
  EXPECT_TRUE(WriteFileAtomic(dir.At("f"), "two", 0640, Durability::kDurable).ok());
  ::umask(before);
  EXPECT_EQ(*ReadFile(dir.At("f"), 100), "two");
  struct stat st;
  ASSERT_EQ(::stat(dir.At("f").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640U);
  EXPECT_EQ(CountEntries(dir.path()), 1U);
}

TEST(AtomicFileTest, FailureLeavesNoTemporaryFile) {
  TempDir dir;
  ASSERT_TRUE(MakeDirectories(dir.At("d/full"), 0755).ok());
  EXPECT_FALSE(WriteFileAtomic(dir.At("d"), "x", 0600, Durability::kAtomic).ok());  // a directory is there
  EXPECT_EQ(CountEntries(dir.path()), 1U);
}

TEST(AtomicFileTest, MakeDirectoriesKeepsTheModeOfExistingOnes) {
  TempDir dir;
  ASSERT_EQ(::mkdir(dir.At("a").c_str(), 0700), 0);
  ASSERT_TRUE(MakeDirectories(dir.At("a/b/c/"), 0755).ok());
  struct stat st;
  ASSERT_EQ(::stat(dir.At("a").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700U);
  ASSERT_EQ(::stat(dir.At("a/b/c").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0755U);
  EXPECT_TRUE(MakeDirectories(dir.At("a/b/c"), 0755).ok());
}

TEST(AtomicFileTest, MakeDirectoriesNamesTheFileInTheWay) {
  TempDir dir;
  ASSERT_TRUE(WriteFileAtomic(dir.At("f"), "", 0600, Durability::kAtomic).ok());
  Status status = MakeDirectories(dir.At("f/x"), 0755);
  EXPECT_NE(status.message().find(dir.At("f")), std::string::npos) << status.ToString();
}

TEST(RemoveTreeTest, FollowsNoSymlink) {
  TempDir dir;
  ASSERT_TRUE(MakeDirectories(dir.At("keep"), 0755).ok());
  ASSERT_TRUE(WriteFileAtomic(dir.At("keep/f"), "x", 0600, Durability::kAtomic).ok());
  ASSERT_TRUE(MakeDirectories(dir.At("tree/sub"), 0755).ok());
  ASSERT_EQ(::symlink(dir.At("keep").c_str(), dir.At("tree/sub/link").c_str()), 0);
  ASSERT_EQ(::symlink(dir.At("keep").c_str(), dir.At("top").c_str()), 0);
  EXPECT_TRUE(RemoveTree(dir.At("tree")).ok());
  EXPECT_TRUE(RemoveTree(dir.At("top")).ok());
  EXPECT_FALSE(Exists(dir.At("tree")));
  EXPECT_FALSE(Exists(dir.At("top")));
  EXPECT_TRUE(Exists(dir.At("keep/f")));
}

TEST(RemoveTreeTest, AbsentIsOkAndDotsAreRefused) {
  TempDir dir;
  EXPECT_TRUE(RemoveTree(dir.At("none")).ok());
  EXPECT_TRUE(RemoveTree(dir.At("none/below")).ok());
  EXPECT_EQ(RemoveTree("/").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(RemoveTree("").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(RemoveTree(dir.At("..")).code(), StatusCode::kInvalidArgument);
}

// Deeper than PATH_MAX and than the descriptors kept open: what a container can make relative to its cwd.
TEST(RemoveTreeTest, RemovesVeryDeepTrees) {
  TempDir dir;
  ASSERT_TRUE(MakeDirectories(dir.At("tree"), 0755).ok());
  UniqueFd at(::open(dir.At("tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "deeper", 0755), 0);
    UniqueFd file(::openat(at.get(), "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(file.valid());
    UniqueFd next(::openat(at.get(), "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(next.valid());
    at = std::move(next);
  }
  Status removed = RemoveTree(dir.At("tree"));
  EXPECT_TRUE(removed.ok()) << removed.ToString().substr(0, 300);
  EXPECT_FALSE(Exists(dir.At("tree")));
}

TEST(RemoveTreeTest, RemovesWideTrees) {
  TempDir dir;
  for (int d = 0; d < 20; ++d) {
    std::string sub = dir.At("tree/" + std::to_string(d));
    ASSERT_TRUE(MakeDirectories(sub, 0755).ok());
    for (int f = 0; f < 250; ++f) {
      UniqueFd file(::open((sub + "/" + std::to_string(f)).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      ASSERT_TRUE(file.valid());
    }
  }
  EXPECT_TRUE(RemoveTree(dir.At("tree")).ok());
  EXPECT_FALSE(Exists(dir.At("tree")));
}

TEST(RootRemoveTreeTest, RefusesAMountAndNamesIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "mount(2) needs root";
  TempDir dir;
  ASSERT_TRUE(MakeDirectories(dir.At("tree/sub/mnt"), 0755).ok());
  ASSERT_TRUE(WriteFileAtomic(dir.At("tree/file"), "x", 0600, Durability::kAtomic).ok());
  ASSERT_TRUE(Mount("tmpfs", dir.At("tree/sub/mnt"), "tmpfs", 0, "size=64k").ok());
  ASSERT_TRUE(WriteFileAtomic(dir.At("tree/sub/mnt/precious"), "x", 0600, Durability::kAtomic).ok());
  Status directory = RemoveTree(dir.At("tree"));
  EXPECT_EQ(directory.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(directory.message().find(dir.At("tree/sub/mnt")), std::string::npos) << directory.ToString();
  EXPECT_EQ(RemoveTree(dir.At("tree/sub/mnt")).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Exists(dir.At("tree/sub/mnt/precious")));
  EXPECT_TRUE(Unmount(dir.At("tree/sub/mnt")).ok());

  ASSERT_TRUE(WriteFileAtomic(dir.At("tree/file"), "x", 0600, Durability::kAtomic).ok());
  ASSERT_TRUE(BindMount("/dev/null", dir.At("tree/file"), false).ok());
  Status file = RemoveTree(dir.At("tree"));
  EXPECT_EQ(file.code(), StatusCode::kFailedPrecondition) << file.ToString();
  EXPECT_TRUE(Unmount(dir.At("tree/file")).ok());
  EXPECT_TRUE(RemoveTree(dir.At("tree")).ok());
}

}  // namespace
}  // namespace davit::sys
