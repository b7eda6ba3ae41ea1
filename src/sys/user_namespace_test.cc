#include "sys/user_namespace.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/atomic_file.h"
#include "sys/idmap.h"
#include "sys/mounts.h"
#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

constexpr uint32_t kHost = 1'000'000;
const IdMap kMap = {{{0, kHost, 65536}}, {{0, kHost, 65536}}};

class RootUserNamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "maps ids, which takes root";
  }
  TempDir dir_;
};

TEST_F(RootUserNamespaceTest, NamespacesBelongToTheUserNamespace) {
  std::vector<PinRequest> pins = {{NamespaceKind::kNet, dir_.At("net")}, {NamespaceKind::kUts, dir_.At("uts")}};
  bool ran = false;
  Status made = CreatePinnedNamespacesIn({kMap, dir_.At("user")}, pins, [&]() -> Status {
    ran = ::sethostname("inside", 6) == 0;
    return {};
  });
  ASSERT_TRUE(made.ok()) << made.ToString();
  EXPECT_TRUE(ran);
  UniqueFd user = *Open(dir_.At("user"), O_RDONLY);
  constexpr unsigned long kGetUserNamespace = 0xb701;  // NS_GET_USERNS, ioctl_ns(2)
  for (const PinRequest& pin : pins) {
    UniqueFd fd = *Open(pin.path, O_RDONLY);
    UniqueFd owner(::ioctl(fd.get(), kGetUserNamespace));
    ASSERT_TRUE(owner.valid());
    struct stat wanted {};
    struct stat found {};
    ASSERT_EQ(::fstat(user.get(), &wanted), 0);
    ASSERT_EQ(::fstat(owner.get(), &found), 0);
    EXPECT_EQ(found.st_ino, wanted.st_ino) << pin.path;
    EXPECT_TRUE(Unpin(pin.path).ok());
  }
  EXPECT_TRUE(Unpin(dir_.At("user")).ok());
}

TEST_F(RootUserNamespaceTest, AFailureInsideLeavesNothingPinned) {
  Status made = CreatePinnedNamespacesIn({kMap, dir_.At("user")}, {{NamespaceKind::kIpc, dir_.At("ipc")}},
                                         [] { return InvalidArgument("no"); });
  EXPECT_EQ(made.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(::access(dir_.At("user").c_str(), F_OK), 0);
  EXPECT_NE(::access(dir_.At("ipc").c_str(), F_OK), 0);
}

// The process that holds the namespaces never executes anything: what it kept open would outlive this process's copy.
TEST_F(RootUserNamespaceTest, WhoHoldsTheNamespacesHoldsNothingElse) {
  Pipe pipe = *MakePipe();
  bool ended = false;
  Status made =
      CreatePinnedNamespacesIn({kMap, dir_.At("user")}, {{NamespaceKind::kUts, dir_.At("uts")}}, [&]() -> Status {
        pipe.write.reset();
        pollfd end{pipe.read.get(), POLLIN, 0};
        ended = ::poll(&end, 1, 30'000) == 1 && (end.revents & POLLHUP) != 0;
        return {};
      });
  EXPECT_TRUE(made.ok()) << made.ToString();
  EXPECT_TRUE(ended) << "somebody still has the other end of the pipe";
  EXPECT_TRUE(Unpin(dir_.At("uts")).ok());
  EXPECT_TRUE(Unpin(dir_.At("user")).ok());
}

TEST_F(RootUserNamespaceTest, AMappedCopyShiftsOwnersBothWays) {
  ASSERT_TRUE(MakeDirectories(dir_.At("source"), 0777).ok());
  ASSERT_TRUE(MakeDirectories(dir_.At("target"), 0755).ok());
  ASSERT_EQ(::chown(dir_.At("source").c_str(), 7, 8), 0);
  Result<UniqueFd> user = CreateUserNamespace(kMap);
  ASSERT_TRUE(user.ok()) << user.status().ToString();
  UniqueFd tree = *CloneMount(dir_.At("source"), true);
  Status mapped = SetIdmap(tree.get(), user->get(), dir_.At("source"), true);
  if (mapped.code() == StatusCode::kFailedPrecondition) GTEST_SKIP() << mapped.message();
  ASSERT_TRUE(mapped.ok()) << mapped.ToString();
  ASSERT_TRUE(AttachMount(tree.get(), dir_.At("target")).ok());
  struct stat info {};
  ASSERT_EQ(::stat(dir_.At("target").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kHost + 7);
  EXPECT_EQ(info.st_gid, kHost + 8);
  UniqueFd again = *CloneMount(dir_.At("target"), true);
  EXPECT_EQ(SetIdmap(again.get(), user->get(), dir_.At("target"), true).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Unmount(dir_.At("target")).ok());
}

TEST_F(RootUserNamespaceTest, AFilesystemThatCannotIsNamed) {
  Result<UniqueFd> user = CreateUserNamespace(kMap);
  ASSERT_TRUE(user.ok()) << user.status().ToString();
  UniqueFd tree = *CloneMount("/proc", false);
  Status mapped = SetIdmap(tree.get(), user->get(), "/proc", false);
  EXPECT_EQ(mapped.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(mapped.message().find("proc"), std::string::npos) << mapped.message();
}

}  // namespace
}  // namespace davit::sys
