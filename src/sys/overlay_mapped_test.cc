#include "sys/overlay_mapped.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/user_namespace.h"

namespace davit::sys {
namespace {

constexpr uint32_t kHost = 1'000'000;

class RootMappedOverlayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounts, which takes root";
    // On a tmpfs of its own: the directory for temporary files may be an overlay itself.
    ASSERT_TRUE(Mount("tmpfs", dir_.path(), "tmpfs", 0, "size=1m").ok());
    for (const char* name : {"top", "bottom", "upper", "work", "merged"}) {
      ASSERT_TRUE(MakeDirectories(dir_.At(name), 0755).ok());
    }
    Put("top/file", "top");
    Put("bottom/file", "bottom");
    Put("bottom/only", "bottom");
    Result<UniqueFd> user = CreateUserNamespace({{{0, kHost, 65536}}, {{0, kHost, 65536}}});
    ASSERT_TRUE(user.ok()) << user.status().ToString();
    user_ = std::move(*user);
    options_ = {{dir_.At("top"), dir_.At("bottom")}, dir_.At("upper"), dir_.At("work")};
    options_.user_namespace = user_.get();
  }
  void TearDown() override {
    IgnoreError(Unmount(dir_.At("merged")));
    IgnoreError(Unmount(dir_.path()));
  }
  void Put(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomic(dir_.At(name), text, 0644, Durability::kAtomic).ok());
  }
  [[nodiscard]] uid_t Owner(const std::string& name) const {
    struct stat info {};
    return ::stat(dir_.At(name).c_str(), &info) == 0 ? info.st_uid : static_cast<uid_t>(-1);
  }

  TempDir dir_;
  UniqueFd user_;
  OverlayOptions options_;
};

TEST_F(RootMappedOverlayTest, TheFinishedMountComesOutOfItsNamespace) {
  const size_t before = ReadMountInfo()->size();
  Status mounted = MountMappedOverlayApart(options_, dir_.At("merged"));
  ASSERT_TRUE(mounted.ok()) << mounted.ToString();
  EXPECT_EQ(ReadMountInfo()->size(), before + 1);
  EXPECT_EQ(*ReadFile(dir_.At("merged/file"), 16), "top");
  EXPECT_EQ(*ReadFile(dir_.At("merged/only"), 16), "bottom");
  EXPECT_EQ(Owner("merged/only"), kHost);
  EXPECT_EQ(Owner("bottom/only"), 0u);
  Put("merged/new", "x");
  EXPECT_EQ(Owner("upper/new"), 0u);
}

TEST_F(RootMappedOverlayTest, BothWaysShowTheSame) {
  ASSERT_TRUE(MountOverlay(options_, dir_.At("merged")).ok());
  EXPECT_EQ(Owner("merged/only"), kHost);
  ASSERT_TRUE(Unmount(dir_.At("merged")).ok());
  ASSERT_TRUE(MountMappedOverlayApart(options_, dir_.At("merged")).ok()) << "after a volatile mark";
  EXPECT_EQ(Owner("merged/only"), kHost);
}

TEST_F(RootMappedOverlayTest, AFailureLeavesNothing) {
  const size_t before = ReadMountInfo()->size();
  options_.lower.push_back(dir_.At("absent"));
  EXPECT_EQ(MountMappedOverlayApart(options_, dir_.At("merged")).code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadMountInfo()->size(), before);
}

}  // namespace
}  // namespace davit::sys
