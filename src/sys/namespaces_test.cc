#include "sys/namespaces.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "base/strings.h"
#include "sys/mounts.h"
#include "sys/process.h"
#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

TEST(SysctlTest, RefusesNamesThatLeaveTheTree) {
  for (const char* name :
       {"", ".", "/", "net..x", "../x", "net/../../etc/passwd", "net/", ".net", "a b", "a;b", "net//x"}) {
    EXPECT_EQ(WriteSysctl(name, "1").code(), StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(WriteSysctl("davit.no.such.key", "1").code(), StatusCode::kNotFound);
}

TEST(NamespacesTest, NamesAreThoseOfProc) {
  EXPECT_EQ(NamespaceName(NamespaceKind::kNet), "net");
  EXPECT_EQ(NamespaceName(NamespaceKind::kIpc), "ipc");
  EXPECT_EQ(NamespaceName(NamespaceKind::kUts), "uts");
  EXPECT_TRUE(Unpin("/nonexistent/pin").ok());
}

ino_t InodeOf(const std::string& path) {
  struct stat st = {};
  return ::stat(path.c_str(), &st) == 0 ? st.st_ino : 0;
}

bool LoopbackIsUp() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = {};
  std::strcpy(request.ifr_name, "lo");
  return ::ioctl(fd.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

class RootNamespacesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "unshare(2) and mount(2) need root";
  }
  void TearDown() override {
    for (const char* name : {"net", "ipc", "uts"}) EXPECT_TRUE(Unpin(dir_.At(name)).ok());
  }
  std::vector<PinRequest> All() {
    return {{NamespaceKind::kNet, dir_.At("net")},
            {NamespaceKind::kIpc, dir_.At("ipc")},
            {NamespaceKind::kUts, dir_.At("uts")}};
  }
  TempDir dir_;
};

TEST_F(RootNamespacesTest, PinnedNamespacesOutliveTheirThread) {
  ino_t own_net = InodeOf("/proc/self/ns/net");
  ino_t inside_net = 0;
  Status created = CreatePinnedNamespaces(All(), [&]() -> Status {
    inside_net = InodeOf("/proc/thread-self/ns/net");
    const char name[] = "pod-1";
    if (::sethostname(name, sizeof name - 1) != 0) return ErrnoError(errno, "sethostname");
    return WriteSysctl("net.ipv4.ip_unprivileged_port_start", "77");
  });
  ASSERT_TRUE(created.ok()) << created.ToString();
  EXPECT_EQ(InodeOf("/proc/self/ns/net"), own_net);  // the process itself stays where it was
  EXPECT_NE(inside_net, own_net);
  EXPECT_EQ(InodeOf(dir_.At("net")), inside_net);
  EXPECT_TRUE(*IsMountPoint(dir_.At("net")));

  bool up = false;
  std::string port_start;
  std::string accept_ra = "0\n";
  Status ran = RunInNamespace(dir_.At("net"), NamespaceKind::kNet, [&]() -> Status {
    up = LoopbackIsUp();
    port_start = ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", 64).value_or("");
    accept_ra = ReadFile("/proc/sys/net/ipv6/conf/default/accept_ra", 64).value_or(accept_ra);  // absent without IPv6
    return {};
  });
  ASSERT_TRUE(ran.ok()) << ran.ToString();
  EXPECT_TRUE(up);
  EXPECT_EQ(port_start, "77\n");
  EXPECT_EQ(accept_ra, "0\n");
  EXPECT_NE(*ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", 64), "77\n");

  char host[65] = {};
  ASSERT_TRUE(RunInNamespace(dir_.At("uts"), NamespaceKind::kUts, [&]() -> Status {
                ::gethostname(host, sizeof host - 1);
                return {};
              }).ok());
  EXPECT_STREQ(host, "pod-1");

  ASSERT_TRUE(Unpin(dir_.At("net")).ok());
  EXPECT_EQ(InodeOf(dir_.At("net")), 0U);
}

TEST_F(RootNamespacesTest, SpawnJoinsThePinnedNetwork) {
  ASSERT_TRUE(CreatePinnedNamespaces({{NamespaceKind::kNet, dir_.At("net")}}, {}).ok());
  auto fd = Open(dir_.At("net"), O_RDONLY);
  ASSERT_TRUE(fd.ok());
  SpawnOptions options;
  options.argv = {"readlink", "/proc/self/ns/net"};
  options.env = MinimalEnvironment();
  options.netns_fd = fd->get();
  auto result = RunCommand(options, "", 1000, Deadline::After(std::chrono::seconds(60)));
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->out, "net:[" + std::to_string(InodeOf(dir_.At("net"))) + "]\n");
}

TEST_F(RootNamespacesTest, AFailureLeavesNothingPinned) {
  Status inside = CreatePinnedNamespaces(All(), [] { return Aborted("no"); });
  EXPECT_EQ(inside.code(), StatusCode::kAborted);
  EXPECT_EQ(InodeOf(dir_.At("net")), 0U);

  std::vector<PinRequest> requests = All();
  requests.back().path = dir_.At("none/uts");
  EXPECT_EQ(CreatePinnedNamespaces(requests, {}).code(), StatusCode::kNotFound);
  EXPECT_EQ(InodeOf(dir_.At("net")), 0U);
  EXPECT_EQ(InodeOf(dir_.At("ipc")), 0U);
}

TEST_F(RootNamespacesTest, APinIsNotReplacedButAStaleFileIs) {
  ASSERT_TRUE(WriteFileAtomic(dir_.At("uts"), "", 0600, Durability::kAtomic).ok());
  std::vector<PinRequest> requests = {{NamespaceKind::kUts, dir_.At("uts")}};
  ASSERT_TRUE(CreatePinnedNamespaces(requests, {}).ok());
  ino_t first = InodeOf(dir_.At("uts"));
  EXPECT_EQ(CreatePinnedNamespaces(requests, {}).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(InodeOf(dir_.At("uts")), first);
}

TEST_F(RootNamespacesTest, SysctlSeparatorsFollowTheFirstOne) {
  ASSERT_TRUE(CreatePinnedNamespaces({{NamespaceKind::kNet, dir_.At("net")}}, [] {
                RETURN_IF_ERROR(WriteSysctl("net.ipv4.conf.lo.rp_filter", "1"));
                return WriteSysctl("net/ipv4/conf/lo/rp_filter", "2");
              }).ok());
  EXPECT_EQ(RunInNamespace(dir_.At("net"), NamespaceKind::kNet,
                           [] { return WriteSysctl("net.ipv4.conf.eth0/1.rp_filter", "1"); })
                    .message()
                    .find("eth0.1/rp_filter") == std::string::npos,
            false);
}

TEST_F(RootNamespacesTest, JoiningWhatIsNoNamespaceFails) {
  ASSERT_TRUE(WriteFileAtomic(dir_.At("uts"), "", 0600, Durability::kAtomic).ok());
  bool ran = false;
  Status status = RunInNamespace(dir_.At("uts"), NamespaceKind::kUts, [&]() -> Status {
    ran = true;
    return {};
  });
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace davit::sys
