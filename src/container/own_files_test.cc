#include "container/own_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

class OwnFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(sys::MakeDirectories(dir_.At("root/etc"), 0755).ok());
    ASSERT_TRUE(sys::MakeDirectories(dir_.At("etc"), 0755).ok());
    root_ = *sys::Open(dir_.At("root"), O_PATH | O_DIRECTORY);
  }
  void Put(const std::string& name, const std::string& text) {
    ASSERT_TRUE(sys::WriteFileAtomic(dir_.At("root/" + name), text, 0644, sys::Durability::kAtomic).ok());
  }
  std::string Get(const std::string& name) { return sys::ReadFile(dir_.At("root/" + name), 1000).value_or("(none)"); }
  std::string LinkAt(const std::string& path) {
    char target[256] = {};
    return ::readlink(dir_.At(path).c_str(), target, sizeof target - 1) > 0 ? target : "(none)";
  }
  sys::TempDir dir_;
  sys::UniqueFd root_;
  const uint32_t owner_ = ::geteuid();
};

TEST_F(OwnFilesTest, MtabIsALinkWhereThereIsNone) {
  ASSERT_TRUE(AddMtab(root_.get(), owner_).ok());
  EXPECT_EQ(LinkAt("root/etc/mtab"), "/proc/mounts");
  EXPECT_TRUE(AddMtab(root_.get(), owner_).ok());
  ASSERT_EQ(::unlink(dir_.At("root/etc/mtab").c_str()), 0);
  Put("etc/mtab", "own");
  EXPECT_TRUE(AddMtab(root_.get(), owner_).ok());
  EXPECT_EQ(Get("etc/mtab"), "own");
}

TEST_F(OwnFilesTest, AnEtcThatLeadsOutIsFollowedInsideOnly) {
  ASSERT_EQ(::rmdir(dir_.At("root/etc").c_str()), 0);
  ASSERT_TRUE(AddMtab(root_.get(), owner_).ok()) << "there is none";
  ASSERT_EQ(::symlink("../../etc", dir_.At("root/etc").c_str()), 0);  // out of the root it would be dir/etc
  EXPECT_TRUE(AddMtab(root_.get(), owner_).ok());
  EXPECT_EQ(LinkAt("etc/mtab"), "(none)");
  ASSERT_EQ(::unlink(dir_.At("root/etc").c_str()), 0);
  ASSERT_TRUE(sys::MakeDirectories(dir_.At("root/usr/etc"), 0755).ok());
  ASSERT_EQ(::symlink("/usr/etc", dir_.At("root/etc").c_str()), 0);
  EXPECT_TRUE(AddMtab(root_.get(), owner_).ok());
  EXPECT_EQ(LinkAt("root/usr/etc/mtab"), "/proc/mounts");
}

TEST_F(OwnFilesTest, AUserWithoutALineGetsOne) {
  User user;
  user.uid = 12345;
  user.gid = 54321;
  user.home = "/";
  EXPECT_TRUE(AddUserEntry(root_.get(), user).ok()) << "an image without the files stays so";
  EXPECT_EQ(Get("etc/passwd"), "(none)");
  Put("etc/passwd", "root:x:0:0:root:/root:/bin/sh");  // no newline at its end
  Put("etc/group", "root:x:0:\n");
  ASSERT_TRUE(AddUserEntry(root_.get(), user).ok());
  EXPECT_EQ(Get("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n12345:x:12345:54321:12345:/:/sbin/nologin\n");
  EXPECT_EQ(Get("etc/group"), "root:x:0:\n54321:x:54321:\n");
  user.has_entry = user.group_has_entry = true;
  ASSERT_TRUE(AddUserEntry(root_.get(), user).ok());
  EXPECT_EQ(Get("etc/group"), "root:x:0:\n54321:x:54321:\n");
}

TEST_F(OwnFilesTest, WhatIsNoFileIsLeftAlone) {
  ASSERT_EQ(::mkfifo(dir_.At("root/etc/passwd").c_str(), 0644), 0);
  User user;
  user.uid = 7;
  EXPECT_TRUE(AddUserEntry(root_.get(), user).ok());
}

}  // namespace
}  // namespace davit::container
