#include "network/leases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network/plugin_fixture.h"

namespace davit::network {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<LeaseConfig> Read(const std::string& text) {
  auto document = oci::ParseJson(text);
  EXPECT_TRUE(document.ok());
  const boost::json::value absent;
  const oci::JsonNode nothing(absent, "runtime");
  return ReadLeaseConfig(oci::JsonNode(*document, "ipam"), "net", nothing.Key("ipRanges"), nothing.Key("ips"));
}

std::vector<std::string> Candidates(const LeaseConfig& config, const std::string& last, size_t most = 8) {
  std::vector<std::string> seen;
  EachCandidate(config.sets.at(0), Address::Parse(last), [&](const Lease& lease) {
    seen.push_back(lease.address.ToString());
    return seen.size() < most;
  });
  return seen;
}

TEST(LeasesTest, TriesWhatComesAfterTheLastOneAndLeavesTheGatewayOut) {
  auto config = Read(R"({"type":"host-local","subnet":"10.0.0.0/29","rangeEnd":"10.0.0.4"})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->directory, "/var/lib/cni/networks/net");
  EXPECT_THAT(Candidates(*config, ""), ElementsAre("10.0.0.2", "10.0.0.3", "10.0.0.4"));
  EXPECT_THAT(Candidates(*config, "10.0.0.3"), ElementsAre("10.0.0.4", "10.0.0.2", "10.0.0.3"));
  EXPECT_THAT(Candidates(*config, "10.0.0.4"), ElementsAre("10.0.0.2", "10.0.0.3", "10.0.0.4"));
  // One of another range tells nothing.
  EXPECT_THAT(Candidates(*config, "10.0.9.3", 1), ElementsAre("10.0.0.2"));
}

TEST(LeasesTest, GoesOnFromOneRangeOfASetToTheNext) {
  auto config = Read(R"({"ranges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.9"},
                                    {"subnet":"10.0.1.0/24","rangeEnd":"10.0.1.3"}]],"dataDir":"/d"})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_THAT(Candidates(*config, ""), ElementsAre("10.0.0.9", "10.0.1.2", "10.0.1.3"));
  EXPECT_THAT(Candidates(*config, "10.0.1.3"), ElementsAre("10.0.0.9", "10.0.1.2", "10.0.1.3"));
}

TEST(LeasesTest, TheLastAddressIsTheBroadcastAddressOfIpv4Alone) {
  auto v4 = Read(R"({"subnet":"10.0.0.0/24"})");
  auto v6 = Read(R"({"subnet":"fd00::/120"})");
  ASSERT_TRUE(v4.ok() && v6.ok());
  EXPECT_EQ(v4->sets[0][0].last.ToString(), "10.0.0.254");
  EXPECT_EQ(v6->sets[0][0].last.ToString(), "fd00::ff");
}

TEST(LeasesTest, LeavesToThePluginWhatItWouldRefuseOrDoesOtherwise) {
  for (const char* text :
       {R"({})", R"({"subnet":"10.0.0.1/24"})", R"({"subnet":"10.0.0.0/31"})", R"({"subnet":"x"})",
        R"({"subnet":"10.0.0.0/24","rangeStart":"10.0.1.1"})", R"({"subnet":"10.0.0.0/24","resolvConf":"/x"})",
        R"({"ranges":[[{"subnet":"10.0.0.0/24"},{"subnet":"fd00::/64"}]]})",
        R"({"ranges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"10.0.0.0/24"}]]})",
        R"({"subnet":"10.0.0.0/24","dataDir":"relative"})",
        R"({"subnet":"10.0.0.0/24","routes":[{"dst":"10.1.0.0/16","mtu":9}]})"}) {
    EXPECT_FALSE(Read(text).ok()) << text;
  }
}

TEST(LeasesTest, FilesAreThoseOfThePlugin) {
  TempDir dir;
  auto config = Read(R"({"subnet":"10.0.0.0/30","dataDir":")" + dir.path() + "\"}");
  ASSERT_TRUE(config.ok());
  auto taken = TakeLeases(*config, "pod", "eth0");
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_EQ(dir.Read("net/10.0.0.2"), "pod\r\neth0");
  EXPECT_EQ(dir.Read("net/last_reserved_ip.0"), "10.0.0.2");
  auto more = TakeLeases(*config, "other", "eth0");
  EXPECT_EQ(more.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(more.status().message(), HasSubstr("no IP addresses available"));
  // Somebody else's stays, also when it is named.
  EXPECT_TRUE(ReleaseLeases(*config, "other", "eth0", {(*taken)[0].address}).ok());
  EXPECT_EQ(FindLeases(*config, "pod", "eth0")->size(), 1u);
  EXPECT_TRUE(ReleaseLeases(*config, "pod", "eth0", {}).ok());
  EXPECT_TRUE(FindLeases(*config, "pod", "eth0")->empty());
}

}  // namespace
}  // namespace davit::network
