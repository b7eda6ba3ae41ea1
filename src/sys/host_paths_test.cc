#include "sys/host_paths.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <thread>

#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

TEST(HostPathsTest, FollowsLinksAndMakesWhatIsMissing) {
  TempDir dir;
  ASSERT_TRUE(MakeDirectories(dir.At("real/below"), 0755).ok());
  ASSERT_EQ(::symlink("real", dir.At("link").c_str()), 0);
  HostPaths paths;
  EXPECT_EQ(paths.Resolve(dir.At("link/below/../below")).value(), dir.At("real/below"));
  EXPECT_EQ(paths.Resolve(dir.At("new/one")).value(), dir.At("new/one"));
  EXPECT_EQ(::rmdir(dir.At("new/one").c_str()), 0) << "it is a directory, and empty";
}

TEST(HostPathsTest, ALinkToNowhereIsAnError) {
  TempDir dir;
  ASSERT_EQ(::symlink("nowhere", dir.At("link").c_str()), 0);
  EXPECT_EQ(HostPaths().Resolve(dir.At("link")).code(), StatusCode::kNotFound);
}

// A FUSE file system whose daemon (we) never answers; closing the device ends it.
class RootHostPathsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    device_ = UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!device_.valid()) GTEST_SKIP() << "no /dev/fuse here";
    std::string options = "fd=" + std::to_string(device_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    ASSERT_EQ(::mount("dead", dir_.path().c_str(), "fuse", 0, options.c_str()), 0);
    mounted_ = true;
  }
  void TearDown() override {
    device_.reset();
    if (mounted_) ::umount2(dir_.path().c_str(), MNT_DETACH);
  }

  TempDir dir_;
  UniqueFd device_;
  bool mounted_ = false;
};

TEST_F(RootHostPathsTest, AFileSystemThatDoesNotAnswerIsGivenUp) {
  HostPaths paths(std::chrono::milliseconds(30), 2);
  for (size_t i = 1; i <= 2; ++i) {
    Result<std::string> resolved = paths.Resolve(dir_.At("file"));
    EXPECT_EQ(resolved.code(), StatusCode::kDeadlineExceeded);
    EXPECT_NE(resolved.status().message().find(dir_.At("file")), std::string::npos);
    EXPECT_EQ(paths.waiting(), i);
  }
  EXPECT_EQ(paths.Resolve("/").code(), StatusCode::kResourceExhausted) << "the cap is for all paths";
  EXPECT_EQ(HostPaths().Resolve("/").value(), "/");
  device_.reset();  // ENOTCONN for those who wait
  while (paths.waiting() > 0) std::this_thread::yield();
  EXPECT_EQ(paths.Resolve("/").value(), "/");
}

}  // namespace
}  // namespace davit::sys
