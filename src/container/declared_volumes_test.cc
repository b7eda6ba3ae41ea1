#include "container/declared_volumes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/atomic_file.h"
#include "sys/copy_tree.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

using ::testing::ElementsAre;

// From the call on: the program may have run for longer than that before the test.
Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

void Write(const std::string& path, const std::string& text, unsigned mode = 0644) {
  ASSERT_TRUE(sys::WriteFileAtomic(path, text, mode, sys::Durability::kAtomic).ok());
}

TEST(DeclaredVolumesTest, PathsAreWalkedInsideTheRoot) {
  Result<std::vector<std::string>> paths = DeclaredVolumes({"/data/", "b", "/a/../../../etc", "/data"}, {});
  ASSERT_TRUE(paths.ok()) << paths.status().ToString();
  EXPECT_THAT(*paths, ElementsAre("/b", "/data", "/etc"));
}

TEST(DeclaredVolumesTest, AMountAtThePathItselfWins) {
  Result<std::vector<std::string>> paths = DeclaredVolumes({"/data", "/other"}, {{"/data", "bind", "/x", {}, {}, {}}});
  ASSERT_TRUE(paths.ok());
  EXPECT_THAT(*paths, ElementsAre("/other"));
}

TEST(DeclaredVolumesTest, ReservedPathsAndTooManyAreRefused) {
  for (const char* path : {"/", "/..", "/proc", "/proc/self/attr", "/dev/", "sys"}) {
    EXPECT_EQ(DeclaredVolumes({path}, {}).code(), StatusCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(DeclaredVolumes(std::vector<std::string>(129, "/a"), {}).code(), StatusCode::kInvalidArgument);
}

class DeclaredVolumesTree : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(sys::MakeDirectories(dir_.At("root/data/sub"), 0755).ok());
    ASSERT_TRUE(sys::MakeDirectories(dir_.At("volumes"), 0700).ok());
    root_ = *sys::Open(dir_.At("root"), O_PATH | O_DIRECTORY);
  }
  Result<std::vector<oci::SpecMount>> Make(const std::string& path) {
    return MakeDeclaredVolumes({path}, root_.get(), dir_.At("volumes"), {}, Soon());
  }

  sys::TempDir dir_;
  sys::UniqueFd root_;
};

TEST_F(DeclaredVolumesTree, ALinkToTheImagesProcIsRefused) {
  ASSERT_TRUE(sys::MakeDirectories(dir_.At("root/proc/self"), 0755).ok());
  ASSERT_TRUE(sys::MakeDirectories(dir_.At("root/process"), 0755).ok());
  ASSERT_EQ(::symlink("/proc", dir_.At("root/link").c_str()), 0);
  for (const char* path : {"/link", "/link/self", "/proc"}) {
    EXPECT_EQ(Make(path).code(), StatusCode::kInvalidArgument) << path;
  }
  EXPECT_TRUE(Make("/process").ok());
}

TEST_F(DeclaredVolumesTree, ContentIsCopiedWithModesAndLinks) {
  Write(dir_.At("root/data/sub/file"), "text", 04755);
  ASSERT_EQ(::symlink("/etc/passwd", dir_.At("root/data/link").c_str()), 0);
  ASSERT_EQ(::mkfifo(dir_.At("root/data/pipe").c_str(), 0600), 0);
  ASSERT_EQ(::chmod(dir_.At("root/data").c_str(), 01777), 0);
  Result<std::vector<oci::SpecMount>> mounts = Make("/data");
  ASSERT_TRUE(mounts.ok()) << mounts.status().ToString();
  const std::string source = (*mounts)[0].source;
  EXPECT_EQ(*sys::ReadFile(source + "/sub/file", 100), "text");
  struct stat info {};
  ASSERT_EQ(::stat(source.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 01777u);
  ASSERT_EQ(::stat((source + "/sub/file").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 04755u);
  ASSERT_EQ(::lstat((source + "/link").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  ASSERT_EQ(::lstat((source + "/pipe").c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

TEST_F(DeclaredVolumesTree, ALinkOutOfTheRootStaysInside) {
  Write(dir_.At("secret"), "node");
  ASSERT_EQ(::symlink("../..", dir_.At("root/up").c_str()), 0);
  Result<std::vector<oci::SpecMount>> mounts = Make("/up");
  ASSERT_TRUE(mounts.ok()) << mounts.status().ToString();
  // ".." at the root is the root: the volume holds the image's own files.
  EXPECT_NE(::access(((*mounts)[0].source + "/secret").c_str(), F_OK), 0);
  EXPECT_EQ(::access(((*mounts)[0].source + "/data").c_str(), F_OK), 0);
}

TEST_F(DeclaredVolumesTree, AMissingPathIsAnEmptyVolumeAndAFileIsRefused) {
  Result<std::vector<oci::SpecMount>> mounts = Make("/not/there");
  ASSERT_TRUE(mounts.ok()) << mounts.status().ToString();
  struct stat info {};
  ASSERT_EQ(::stat((*mounts)[0].source.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
  Write(dir_.At("root/file"), "x");
  EXPECT_EQ(Make("/file").code(), StatusCode::kInvalidArgument);
}

TEST_F(DeclaredVolumesTree, LimitsAreNamed) {
  Write(dir_.At("root/data/a"), "1234567890");
  sys::UniqueFd from = *sys::Open(dir_.At("root/data"), O_RDONLY | O_DIRECTORY);
  sys::UniqueFd to = *sys::Open(dir_.At("volumes"), O_RDONLY | O_DIRECTORY);
  Status bytes = sys::CopyTree(from.get(), to.get(), {.bytes = 9}, Soon());
  EXPECT_EQ(bytes.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(bytes.message().find("9 bytes"), std::string::npos) << bytes.message();
  ASSERT_TRUE(sys::MakeDirectories(dir_.At("second"), 0700).ok());
  sys::UniqueFd second = *sys::Open(dir_.At("second"), O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(sys::CopyTree(from.get(), second.get(), {.entries = 1}, Soon()).code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace davit::container
