#include "sys/rooted.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

class RootfsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(MakeDirectories(dir_.At("rootfs/etc"), 0755).ok());
    ASSERT_TRUE(WriteFileAtomic(dir_.At("secret"), "host", 0644, Durability::kAtomic).ok());
    ASSERT_TRUE(WriteFileAtomic(dir_.At("rootfs/etc/passwd"), "image", 0644, Durability::kAtomic).ok());
    auto root = Open(dir_.At("rootfs"), O_PATH | O_DIRECTORY);
    ASSERT_TRUE(root.ok());
    root_ = std::move(*root);
  }
  void Link(const std::string& target, const std::string& name) {
    ASSERT_EQ(::symlink(target.c_str(), dir_.At("rootfs/" + name).c_str()), 0);
  }
  bool IsDir(const std::string& name) {
    struct stat st;
    return ::lstat(dir_.At(name).c_str(), &st) == 0 && S_ISDIR(st.st_mode);
  }
  TempDir dir_;
  UniqueFd root_;
};

TEST_F(RootfsTest, AbsoluteAndClimbingPathsStayInside) {
  for (const char* path : {"/etc/passwd", "etc/passwd", "../../etc/passwd", "/../etc/../etc/passwd"}) {
    auto text = ReadFileInRoot(root_.get(), path, 100);
    ASSERT_TRUE(text.ok()) << text.status().ToString();
    EXPECT_EQ(*text, "image");
  }
  EXPECT_EQ(ReadFileInRoot(root_.get(), "/../secret", 100).code(), StatusCode::kNotFound);
}

TEST_F(RootfsTest, SymlinksResolveInside) {
  Link("/etc/passwd", "absolute");
  Link("../../../secret", "climbing");
  Link("/proc/self/root", "magic");
  EXPECT_EQ(*ReadFileInRoot(root_.get(), "absolute", 100), "image");
  EXPECT_EQ(ReadFileInRoot(root_.get(), "climbing", 100).code(), StatusCode::kNotFound);
  EXPECT_FALSE(ReadFileInRoot(root_.get(), "magic/etc/passwd", 100).ok());
}

TEST_F(RootfsTest, ReadsOnlyRegularFilesUpToTheCap) {
  ASSERT_EQ(::mkfifo(dir_.At("rootfs/fifo").c_str(), 0600), 0);
  EXPECT_EQ(ReadFileInRoot(root_.get(), "fifo", 100).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFileInRoot(root_.get(), "etc", 100).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFileInRoot(root_.get(), "etc/passwd", 4).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(ReadFileInRoot(root_.get(), "etc/passwd", 5).ok());
  EXPECT_EQ(ReadFileInRoot(root_.get(), std::string("etc\0x", 5), 5).code(), StatusCode::kInvalidArgument);
}

TEST_F(RootfsTest, MakesDirectoriesAndCreatesFilesInThem) {
  auto made = MakeDirectoriesInRoot(root_.get(), "/a/b/../b/c", 0755);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_TRUE(IsDir("rootfs/a/b/c"));
  auto file = OpenInRoot(made->get(), "f", O_WRONLY | O_CREAT | O_EXCL, 0600);
  EXPECT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_TRUE(MakeDirectoriesInRoot(root_.get(), "/", 0755).ok());
  EXPECT_FALSE(MakeDirectoriesInRoot(root_.get(), "/etc/passwd/x", 0755).ok());
}

TEST_F(RootfsTest, DanglingLinksOnTheWayAreMadeInside) {
  Link("/run", "var-run");
  Link("../../../escape", "climb");
  auto run = MakeDirectoriesInRoot(root_.get(), "/var-run/secrets", 0755);
  ASSERT_TRUE(run.ok()) << run.status().ToString();
  EXPECT_TRUE(IsDir("rootfs/run/secrets"));
  ASSERT_TRUE(MakeDirectoriesInRoot(root_.get(), "climb/x", 0755).ok());
  EXPECT_TRUE(IsDir("rootfs/escape/x"));
  EXPECT_FALSE(IsDir("escape"));
}

TEST_F(RootfsTest, LinkLoopsEnd) {
  Link("two", "one");
  Link("one", "two");
  EXPECT_FALSE(MakeDirectoriesInRoot(root_.get(), "one/x", 0755).ok());
  Link("grow/x", "grow");
  EXPECT_FALSE(MakeDirectoriesInRoot(root_.get(), "grow/y", 0755).ok());
}

TEST_F(RootfsTest, NamesAreSortedAndCanBeReadAgain) {
  for (const char* name : {"names/b", "names/a", "names/.c"}) {
    ASSERT_TRUE(MakeDirectoriesInRoot(root_.get(), name, 0755).ok());
  }
  auto directory = OpenInRoot(root_.get(), "names", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(directory.ok());
  const std::vector<std::string> all = {".c", "a", "b"};
  EXPECT_EQ(*NamesIn(directory->get()), all);
  EXPECT_EQ(*NamesIn(directory->get()), all);
  auto file = OpenInRoot(root_.get(), "etc/passwd", O_RDONLY);
  EXPECT_FALSE(NamesIn(file->get()).ok());
}

TEST_F(RootfsTest, BeneathGoesThroughNoLinkAndNotUp) {
  Link("etc", "link");
  Link("etc/passwd", "file");
  EXPECT_TRUE(OpenBeneath(root_.get(), "etc/passwd", O_RDONLY).ok());
  for (const char* path : {"link/passwd", "file", "../secret", "etc/../../secret", "/etc/passwd", ""}) {
    EXPECT_FALSE(OpenBeneath(root_.get(), path, O_RDONLY).ok()) << path;
  }
}

}  // namespace
}  // namespace davit::sys
