#include "network/network_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/ids.h"

namespace davit::network {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

NamedNetwork Sample() {
  NamedNetwork network;
  network.id = MintId();
  network.name = "front";
  network.labels = {{"com.docker.compose.project", "shop"}};
  network.options = {{"mtu", "1400"}};
  network.subnets = {{"10.89.3.0/24", "10.89.3.1", "", ""}, {"fd12:3456:789a::/64", "fd12:3456:789a::1", "", ""}};
  network.ipv6 = true;
  network.created_at = 17;
  network.interface = "davit4";
  network.config = *ConfigOf(network, "/run/davit/networks", false);
  return network;
}

TEST(NetworkFileTest, RoundTrips) {
  NamedNetwork network = Sample();
  auto text = NetworkFileText(network);
  ASSERT_TRUE(text.ok()) << text.status().ToString();
  auto again = ParseNetworkFile(*text, "front");
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(again->id, network.id);
  EXPECT_EQ(again->labels, network.labels);
  EXPECT_EQ(again->options, network.options);
  EXPECT_EQ(again->subnets, network.subnets);
  EXPECT_EQ(again->interface, "davit4");
  EXPECT_EQ(again->created_at, 17);
  EXPECT_EQ(again->config, network.config);
  EXPECT_THAT(again->config, Not(HasSubstr("davit\":{"))) << "plugins get what is theirs";
}

TEST(NetworkFileTest, TheListIsWhatThePluginsTake) {
  const std::string config = Sample().config;
  EXPECT_THAT(config, HasSubstr(R"("bridge":"davit4")"));
  EXPECT_THAT(config, HasSubstr(R"("mtu":1400)"));
  EXPECT_THAT(config, HasSubstr(R"("ranges":[[{"subnet":"10.89.3.0/24","gateway":"10.89.3.1"}],[{"subnet":"fd12:)"));
  EXPECT_THAT(config, HasSubstr(R"({"dst":"0.0.0.0/0"})"));
  EXPECT_THAT(config, HasSubstr(R"({"dst":"::/0"})"));
  EXPECT_THAT(config, HasSubstr(R"("type":"portmap")"));
  EXPECT_THAT(config, Not(HasSubstr("firewall")));
}

TEST(NetworkFileTest, AnInternalOneHasNoWayOut) {
  NamedNetwork network = Sample();
  network.internal = true;
  const std::string config = *ConfigOf(network, "/run/davit/networks", false);
  EXPECT_THAT(config, Not(HasSubstr("routes")));
  EXPECT_THAT(config, Not(HasSubstr("portmap")));
  EXPECT_THAT(config, HasSubstr(R"("ipMasq":false)"));
}

TEST(NetworkFileTest, IsolationIsTheFirewallPlugins) {
  NamedNetwork network = Sample();
  network.options["isolate"] = "true";
  EXPECT_THAT(*ConfigOf(network, "/l", true), HasSubstr(R"({"type":"firewall","ingressPolicy":"same-bridge"})"));
}

TEST(NetworkFileTest, ANodeThatForwardsNothingNeedsARuleForEachPod) {
  EXPECT_THAT(*ConfigOf(Sample(), "/l", true), HasSubstr(R"({"type":"firewall"})"));
}

TEST(NetworkFileTest, APodGetsOnlyWhatItNeeds) {
  NamedNetwork network = Sample();
  auto config = ConfigForPod(network, false, false);
  ASSERT_TRUE(config.ok());
  EXPECT_FALSE(config->Has("portMappings"));
  EXPECT_TRUE(config->Has("ips"));
  EXPECT_TRUE(config->Has("mac"));
  EXPECT_THAT(config->ToJson(), Not(HasSubstr("routes")));
  EXPECT_THAT(ConfigForPod(network, true, true)->ToJson(), HasSubstr("routes"));
}

TEST(NetworkFileTest, RefusesWhatIsNotOurs) {
  const std::string good = *NetworkFileText(Sample());
  EXPECT_FALSE(ParseNetworkFile(good, "other").ok()) << "another file's name";
  EXPECT_FALSE(ParseNetworkFile("{}", "front").ok());
  EXPECT_FALSE(ParseNetworkFile(Sample().config, "front").ok()) << "without the member davit";
  auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.rfind(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  EXPECT_EQ(ParseNetworkFile(with("\"version\":1", "\"version\":2"), "front").code(), StatusCode::kDataLoss);
  EXPECT_FALSE(ParseNetworkFile(with("\"interface\":\"davit4\"", "\"interface\":\"../x\""), "front").ok());
  EXPECT_FALSE(ParseNetworkFile(with("\"mtu\":\"1400\"", "\"mtu\":\"x\""), "front").ok());
  EXPECT_FALSE(ParseNetworkFile(with("10.89.3.0/24", "10.89.3.0"), "front").ok());
}

TEST(NetworkFileTest, Names) {
  for (const char* name : {"a", "web_1", "A.b-c", "0"}) EXPECT_TRUE(ValidateNetworkName(name).ok()) << name;
  for (const std::string& name : {std::string(), std::string("-a"), std::string(".a"), std::string("a/b"),
                                  std::string("a b"), std::string(129, 'a')}) {
    EXPECT_EQ(ValidateNetworkName(name).code(), StatusCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(ValidateLinkName("davit0", "interface").ok());
  for (const char* name : {"", "lo", "a234567890123456", "a/b", "..", "e%d"}) {
    EXPECT_FALSE(ValidateLinkName(name, "interface").ok()) << name;
  }
}

TEST(NetworkFileTest, SubnetsAreCompletedAndChecked) {
  EXPECT_EQ(CompleteSubnet({"10.89.3.7/24", "", "", ""})->gateway, "10.89.3.1");
  EXPECT_EQ(CompleteSubnet({"10.89.3.7/24", "", "", ""})->subnet, "10.89.3.0/24");
  for (const SubnetConfig& bad :
       {SubnetConfig{"10.0.0.0/31", "", "", ""}, SubnetConfig{"0.0.0.0/0", "", "", ""},
        SubnetConfig{"10.89.3.0/24", "10.89.4.1", "", ""}, SubnetConfig{"10.89.3.0/24", "10.89.3.255", "", ""},
        SubnetConfig{"10.89.3.0/24", "", "10.89.3.0", ""}, SubnetConfig{"10.89.3.0/24", "", "10.89.3.9", "10.89.3.8"},
        SubnetConfig{"10.89.3.0/24", "fd00::1", "", ""}}) {
    EXPECT_EQ(CompleteSubnet(bad).code(), StatusCode::kInvalidArgument) << bad.subnet << " " << bad.gateway;
  }
}

TEST(NetworkFileTest, Options) {
  EXPECT_EQ(ParseNetworkOptions({{"com.docker.network.driver.mtu", "9000"}})->mtu, 9000);
  EXPECT_TRUE(ParseNetworkOptions({{"isolate", "1"}})->isolate);
  EXPECT_FALSE(ParseNetworkOptions({{"com.docker.network.bridge.enable_ip_masquerade", "false"}})->masquerade);
  EXPECT_TRUE(ParseNetworkOptions({{"of.nobody", "x"}}).ok());
  for (const char* mtu : {"x", "-1", "67", "70000"}) {
    EXPECT_EQ(ParseNetworkOptions({{"mtu", mtu}}).code(), StatusCode::kInvalidArgument) << mtu;
  }
  EXPECT_FALSE(ParseNetworkOptions({{"isolate", "perhaps"}}).ok());
  EXPECT_FALSE(ParseNetworkOptions({{"com.docker.network.bridge.name", "a/b"}}).ok());
  EXPECT_FALSE(ParseNetworkOptions({{"com.docker.network.bridge.enable_icc", "false"}}).ok());
}

}  // namespace
}  // namespace davit::network
