#include "container/users.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

class UsersTest : public ::testing::Test {
 protected:
  UsersTest() {
    EXPECT_TRUE(sys::MakeDirectories(root_.path() + "/etc", 0755).ok());
    Write("/etc/passwd",
          "root:x:0:0:root:/root:/bin/sh\n"
          "broken line\n"
          "www-data:x:33:34:www:/var/www:/bin/sh\n"
          "app:x:1000:1000::/home/app:/bin/sh\n"
          "4294967296:x:0:0::/:/bin/sh\n");
    Write("/etc/group", "root:x:0:\nextra:x:50000:app,other\nmore:x:50001:app\nstaff:x:60:\n");
    fd_ = sys::UniqueFd(::open(root_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }

  void Write(const std::string& path, const std::string& text) {
    EXPECT_TRUE(sys::WriteFileAtomic(root_.path() + path, text, 0644, sys::Durability::kAtomic).ok());
  }
  Result<User> Resolve(const SecurityContext& security, const std::string& image_user) {
    return ResolveUser(fd_.get(), security, image_user);
  }

  sys::TempDir root_;
  sys::UniqueFd fd_;
};

TEST_F(UsersTest, ImageUserByNumberNameAndGroup) {
  struct Case {
    std::string user;
    int64_t uid;
    int64_t gid;
    std::string home;
  };
  for (const Case& c :
       {Case{"", 0, 0, "/root"}, Case{"1000", 1000, 1000, "/home/app"}, Case{"www-data", 33, 34, "/var/www"},
        Case{"1003:1004", 1003, 1004, "/"}, Case{"www-data:staff", 33, 60, "/var/www"}, Case{"2000", 2000, 0, "/"}}) {
    Result<User> user = Resolve({}, c.user);
    ASSERT_TRUE(user.ok()) << c.user << ": " << user.status().ToString();
    EXPECT_EQ(user->uid, c.uid) << c.user;
    EXPECT_EQ(user->gid, c.gid) << c.user;
    EXPECT_EQ(user->home, c.home) << c.user;
  }
}

TEST_F(UsersTest, NumbersOutOfRangeNeverWrapAndNeverBecomeNames) {
  for (const char* bad : {"4294967296", "2147483648", "99999999999999999999", "1000:2147483648"}) {
    EXPECT_EQ(Resolve({}, bad).code(), StatusCode::kInvalidArgument) << bad;
  }
  for (const char* unknown : {"-1", "0x0", " 1", "nobody"}) {
    EXPECT_EQ(Resolve({}, unknown).code(), StatusCode::kNotFound) << unknown;
  }
}

TEST_F(UsersTest, RequestWinsOverTheImage) {
  SecurityContext security;
  security.run_as_user = 1000;
  security.run_as_group = 7;
  Result<User> user = Resolve(security, "www-data");
  ASSERT_TRUE(user.ok());
  EXPECT_EQ(user->uid, 1000);
  EXPECT_EQ(user->gid, 7);
}

TEST_F(UsersTest, GroupWithoutUserIsRefused) {
  SecurityContext security;
  security.run_as_group = 7;
  EXPECT_EQ(Resolve(security, "").code(), StatusCode::kInvalidArgument);
}

TEST_F(UsersTest, MergeAddsTheImagesGroupsAndStrictDoesNot) {
  SecurityContext security;
  security.run_as_user = 1000;
  security.supplemental_groups = {1234};
  EXPECT_EQ(Resolve(security, "")->groups, (std::vector<int64_t>{1000, 1234, 50000, 50001}));
  security.supplemental_groups_policy = GroupsPolicy::kStrict;
  EXPECT_EQ(Resolve(security, "")->groups, (std::vector<int64_t>{1000, 1234}));
}

TEST_F(UsersTest, IdentityFilesAreReadInsideTheRootOnly) {
  // The link leads out of the root by its text; inside the root it leads to the image's own file.
  ASSERT_EQ(::unlink((root_.path() + "/etc/passwd").c_str()), 0);
  Write("/other", "evil:x:7:7::/:/bin/sh\n");
  ASSERT_EQ(::symlink("/../../../other", (root_.path() + "/etc/passwd").c_str()), 0);
  EXPECT_EQ(Resolve({}, "evil")->uid, 7);
}

TEST_F(UsersTest, AFifoForPasswdIsAnErrorAndNotAHang) {
  ASSERT_EQ(::unlink((root_.path() + "/etc/passwd").c_str()), 0);
  ASSERT_EQ(::mkfifo((root_.path() + "/etc/passwd").c_str(), 0644), 0);
  EXPECT_FALSE(Resolve({}, "app").ok());
}

TEST_F(UsersTest, AnImageWithoutIdentityFilesRunsNumbers) {
  ASSERT_EQ(::unlink((root_.path() + "/etc/passwd").c_str()), 0);
  ASSERT_EQ(::unlink((root_.path() + "/etc/group").c_str()), 0);
  EXPECT_EQ(Resolve({}, "65535")->uid, 65535);
  EXPECT_EQ(Resolve({}, "")->uid, 0);
  EXPECT_EQ(Resolve({}, "app").code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::container
