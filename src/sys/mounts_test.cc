#include "sys/mounts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

TEST(MountInfoTest, ParsesOptionalFieldsAndEscapes) {
  auto mounts = ParseMountInfo(
      "36 35 98:0 /mnt\\0401 /mnt2\\134x rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"
      "37 36 0:3 / / ro - tmpfs  rw\n");
  ASSERT_TRUE(mounts.ok()) << mounts.status().ToString();
  ASSERT_EQ(mounts->size(), 2U);
  const MountInfo& first = (*mounts)[0];
  EXPECT_EQ(first.id, 36U);
  EXPECT_EQ(first.parent_id, 35U);
  EXPECT_EQ(first.root, "/mnt 1");
  EXPECT_EQ(first.mount_point, "/mnt2\\x");
  EXPECT_EQ(first.options, "rw,noatime");
  EXPECT_EQ(first.optional_fields, (std::vector<std::string>{"master:1", "shared:7"}));
  EXPECT_EQ(first.fs_type, "ext3");
  EXPECT_EQ(first.source, "/dev/root");
  EXPECT_EQ(first.super_options, "rw,errors=continue");
  EXPECT_EQ((*mounts)[1].source, "");
  EXPECT_TRUE((*mounts)[1].optional_fields.empty());
}

TEST(MountInfoTest, NamesTheMalformedLine) {
  for (const char* line :
       {"x 35 98:0 / / rw - ext3 a b", "36 35 98:0 / / rw ext3 a b", "36", "1 2 0:1 / / rw - ext3"}) {
    auto mounts = ParseMountInfo(line);
    EXPECT_EQ(mounts.code(), StatusCode::kInvalidArgument) << line;
    EXPECT_NE(mounts.status().message().find(line), std::string::npos);
  }
}

TEST(MountInfoTest, ReadsTheOwnMounts) {
  auto mounts = ReadMountInfo();
  ASSERT_TRUE(mounts.ok()) << mounts.status().ToString();
  EXPECT_FALSE(mounts->empty());
  EXPECT_TRUE(*IsMountPoint("/proc"));
  EXPECT_FALSE(*IsMountPoint("/proc/self"));
  EXPECT_EQ(IsMountPoint("/nonexistent").code(), StatusCode::kNotFound);
  EXPECT_TRUE(PropagationOf("/proc").ok());
}

TEST(MountTest, UnmountOfNothingIsOk) {
  TempDir dir;
  EXPECT_TRUE(Unmount(dir.At("none")).ok());
}

class RootMountTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mount(2) needs root";
    // Overlay does not take an overlay's own directory as upper: a tmpfs always does.
    ASSERT_TRUE(Mount("tmpfs", dir_.path(), "tmpfs", 0, "size=16m").ok());
    mounted_ = true;
  }
  void TearDown() override {
    EXPECT_TRUE(Unmount(Path("merged")).ok());
    if (mounted_) {
      EXPECT_TRUE(Unmount(dir_.path()).ok());
    }
  }
  std::string Path(const std::string& name) { return dir_.At(name); }
  std::string Make(const std::string& name) {
    EXPECT_TRUE(MakeDirectories(Path(name), 0755).ok());
    return Path(name);
  }
  void Put(const std::string& path, const std::string& text) {
    EXPECT_TRUE(WriteFileAtomic(path, text, 0644, Durability::kAtomic).ok());
  }
  std::string Get(const std::string& path) { return ReadFile(path, 1000).value_or("(none)"); }

  TempDir dir_;
  bool mounted_ = false;
};

TEST_F(RootMountTest, BindMountIsAMountPointUntilUnmounted) {
  std::string source = Make("source");
  std::string target = Make("merged");
  EXPECT_FALSE(*IsMountPoint(target));
  ASSERT_TRUE(BindMount(source, target, false).ok());
  EXPECT_TRUE(*IsMountPoint(target));
  EXPECT_TRUE(Unmount(target).ok());
  EXPECT_FALSE(*IsMountPoint(target));
  EXPECT_TRUE(Unmount(target).ok());
  Status missing = BindMount(source, Path("none"), false);
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.message().find(Path("none")), std::string::npos);
}

TEST_F(RootMountTest, PropagationIsOfTheMountThatHoldsThePath) {
  std::string target = Make("merged");
  ASSERT_TRUE(Mount("tmpfs", target, "tmpfs", 0, "size=64k").ok());
  ASSERT_TRUE(Mount("none", target, "", MS_PRIVATE, "").ok());
  EXPECT_FALSE(PropagationOf(Make("merged/sub"))->shared);
  ASSERT_TRUE(Mount("none", target, "", MS_SHARED, "").ok());
  EXPECT_TRUE(PropagationOf(Path("merged/sub"))->shared);
  EXPECT_FALSE(PropagationOf(Path("merged/sub"))->slave);
}

TEST_F(RootMountTest, OverlayOfSixtyLowers) {
  OverlayOptions options;
  for (int i = 0; i < 60; ++i) {
    // Together longer than one page of mount options.
    std::string lower = Make("lower-" + std::to_string(i) + std::string(100, 'l'));
    Put(lower + "/only-" + std::to_string(i), "x");
    Put(lower + "/all", std::to_string(i));
    options.lower.push_back(lower);
  }
  options.upper = Make("upper");
  options.work = Make("work");
  std::string merged = Make("merged");
  Status mounted = MountOverlay(options, merged);
  ASSERT_TRUE(mounted.ok()) << mounted.ToString();
  EXPECT_EQ(Get(merged + "/all"), "0");  // the first one is the topmost
  EXPECT_EQ(Get(merged + "/only-59"), "x");
  Put(merged + "/written", "w");
  EXPECT_EQ(Get(options.upper + "/written"), "w");
  bool seen = false;
  auto mounts = ReadMountInfo();
  ASSERT_TRUE(mounts.ok());
  for (const MountInfo& mount : *mounts) {
    if (mount.mount_point != merged) continue;
    seen = true;
    EXPECT_EQ(mount.source, "davit");
    EXPECT_NE(mount.super_options.find("volatile"), std::string::npos);
  }
  EXPECT_TRUE(seen);
}

TEST_F(RootMountTest, ALowerThatComesAgainCountsWhereItStandsTopmost) {
  OverlayOptions options;
  const std::string base = Make("base"), empty = Make("empty"), x = Make("x");
  Put(base + "/file", "base");
  Put(base + "/kept", "kept");
  Put(x + "/file", "x");
  options.lower = {base, empty, x, empty, base};  // topmost first
  options.upper = Make("upper");
  options.work = Make("work");
  const std::string merged = Make("merged");
  Status mounted = MountOverlay(options, merged);
  ASSERT_TRUE(mounted.ok()) << mounted.ToString();
  EXPECT_EQ(Get(merged + "/file"), "base");
  EXPECT_EQ(Get(merged + "/kept"), "kept");
  ASSERT_TRUE(Unmount(merged).ok());
  // Without an upper one what is left may be a single directory.
  OverlayOptions same{{empty, empty}};
  mounted = MountOverlay(same, merged);
  EXPECT_TRUE(mounted.ok()) << mounted.ToString();
}

TEST_F(RootMountTest, OverlayIsMountedAgainOverAStaleVolatileMark) {
  OverlayOptions options{{Make("lower")}, Make("upper"), Make("work"), true};
  std::string merged = Make("merged");
  ASSERT_TRUE(MountOverlay(options, merged).ok());
  ASSERT_TRUE(Unmount(merged).ok());  // the mark stays, as after a crash
  ASSERT_TRUE(ReadFile(options.work + "/work/incompat/volatile", 1).code() != StatusCode::kNotFound);
  Status again = MountOverlay(options, merged);
  EXPECT_TRUE(again.ok()) << again.ToString();
}

TEST_F(RootMountTest, OverlayTakesOddNames) {
  OverlayOptions options{{Make("lo:w,er\\1"), Make("lower 2")}, Make("up:p,er\\"), Make("wo:r,k\\x"), false};
  Put(options.lower[0] + "/f", "top");
  Put(options.lower[1] + "/g", "bottom");
  std::string merged = Make("merged");
  Status mounted = MountOverlay(options, merged);
  ASSERT_TRUE(mounted.ok()) << mounted.ToString();
  EXPECT_EQ(Get(merged + "/f"), "top");
  EXPECT_EQ(Get(merged + "/g"), "bottom");
  Put(merged + "/h", "w");
  EXPECT_EQ(Get(options.upper + "/h"), "w");
}

TEST_F(RootMountTest, OverlayWithoutUpperIsReadOnly) {
  for (size_t count : {1U, 2U}) {
    OverlayOptions options;
    for (size_t i = 0; i < count; ++i) options.lower.push_back(Make("lower-" + std::to_string(i)));
    Put(options.lower[0] + "/f", "x");
    std::string merged = Make("merged");
    Status mounted = MountOverlay(options, merged);
    ASSERT_TRUE(mounted.ok()) << mounted.ToString();
    EXPECT_EQ(Get(merged + "/f"), "x");
    EXPECT_FALSE(WriteFileAtomic(merged + "/g", "x", 0600, Durability::kAtomic).ok());
    ASSERT_TRUE(Unmount(merged).ok());
  }
}

TEST_F(RootMountTest, OverlayErrorsNameTheOperand) {
  std::string merged = Make("merged");
  EXPECT_EQ(MountOverlay({}, merged).code(), StatusCode::kInvalidArgument);
  Status missing = MountOverlay({{Make("lower"), Path("gone")}, "", "", true}, merged);
  EXPECT_EQ(missing.code(), StatusCode::kNotFound) << missing.ToString();
  EXPECT_NE(missing.message().find(Path("gone")), std::string::npos) << missing.ToString();
  OverlayOptions many;
  for (int i = 0; i < 501; ++i) many.lower.push_back(Make("many-" + std::to_string(i)));
  Status refused = MountOverlay(many, merged);
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("501"), std::string::npos) << refused.ToString();
}

}  // namespace
}  // namespace davit::sys
