#include "sys/interface_counters.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/namespaces.h"
#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

TEST(InterfaceCountersTest, ReadsTheColumnsOfNetDev) {
  auto all = ParseNetDev(
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
      "compressed\n"
      "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0 "
      "         0\n"
      "eth0:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
      "a:b: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n"
      "cut: 1 2 3\n");
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].name, "lo");
  EXPECT_EQ(all[1].name, "eth0");
  EXPECT_EQ(all[1].rx_bytes, 18446744073709551615U);
  EXPECT_EQ(all[1].rx_packets, 2U);
  EXPECT_EQ(all[1].rx_errors, 3U);
  EXPECT_EQ(all[1].rx_dropped, 4U);
  EXPECT_EQ(all[1].tx_bytes, 9U);
  EXPECT_EQ(all[1].tx_packets, 10U);
  EXPECT_EQ(all[1].tx_errors, 11U);
  EXPECT_EQ(all[1].tx_dropped, 12U);
  EXPECT_EQ(all[2].name, "a:b");
}

// Needs root for the namespace.
TEST(RootInterfaceCountersTest, SeesTheTrafficOfTheOtherNamespaceOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "making a network namespace needs root";
  TempDir dir;
  const std::string pin = dir.At("net");
  ASSERT_TRUE(CreatePinnedNamespaces({{NamespaceKind::kNet, pin}}, {}).ok());
  {
    auto counters = InterfaceCounters::Open(pin);
    ASSERT_TRUE(counters.ok()) << counters.status().ToString();
    auto before = counters->Read();
    ASSERT_TRUE(before.ok());
    ASSERT_EQ(before->size(), 1U);
    EXPECT_EQ((*before)[0].name, "lo");
    EXPECT_EQ((*before)[0].rx_bytes, 0U);
    Status sent = RunInNamespace(pin, NamespaceKind::kNet, []() -> Status {
      UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_port = htons(9);
      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      std::string data(1000, 'x');
      if (::sendto(fd.get(), data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0) {
        return ErrnoError(errno, "send");
      }
      return {};
    });
    ASSERT_TRUE(sent.ok()) << sent.ToString();
    auto after = counters->Read();
    ASSERT_TRUE(after.ok());
    EXPECT_GE((*after)[0].tx_bytes, 1000U);
    EXPECT_GE((*after)[0].tx_packets, 1U);
  }
  EXPECT_TRUE(Unpin(pin).ok());
}

}  // namespace
}  // namespace davit::sys
