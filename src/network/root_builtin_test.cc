// The network that davitd makes itself, beside the one that the plugins make of the same configuration: everything that
// can be seen of both is compared. Each runs in a network namespace of its own that stands for the node.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network/builtin_node_fixture.h"
#include "oci/json.h"

namespace davit::network {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using Case = BuiltinCase;

// Results as values, so that the order of members does not count.
boost::json::value Value(const std::string& text) {
  auto value = oci::ParseJson(text);
  return value.ok() ? *value : boost::json::value(text.c_str());
}

bool Failed(const std::string& result) { return result.rfind("ERROR", 0) == 0; }
std::string Recorded(const std::string& result) { return Failed(result) ? "" : result; }

struct Seen {
  std::string leases;
  std::vector<std::string> results;
  std::string up;
  std::string one_gone;
  std::string down;
  std::vector<std::string> statuses;
};

Seen Observe(bool builtin, const Case& test) {
  Side side(builtin, test);
  Seen seen;
  PluginContext a = side.NewPod(test.capabilities);
  PluginContext b = side.NewPod({});
  std::string result_a = side.Add(a);
  std::string result_b = side.Add(b);
  seen.results = {side.NormalResult(result_a), side.NormalResult(result_b)};
  seen.up = side.State();
  seen.leases = side.Leases();
  seen.statuses.push_back(side.Del(a, Recorded(result_a)).ToString());
  seen.one_gone = side.State();
  seen.statuses.push_back(side.Del(b, Recorded(result_b)).ToString());
  // Once more, and of one that never was.
  seen.statuses.push_back(side.Del(b, Recorded(result_b)).ToString());
  seen.statuses.push_back(side.Del(side.NewPod({}), "").ToString());
  seen.down = side.State();
  return seen;
}

class RootBuiltinEqualityTest : public ::testing::TestWithParam<Case> {};

TEST_P(RootBuiltinEqualityTest, MakesWhatThePluginsMake) {
  if (const char* missing = MissingHere()) GTEST_SKIP() << missing;
  const Seen plugins = Observe(false, GetParam());
  const Seen builtin = Observe(true, GetParam());
  EXPECT_EQ(builtin.statuses, plugins.statuses);
  EXPECT_EQ(builtin.leases, plugins.leases);
  for (size_t i = 0; i < plugins.results.size(); ++i) {
    if (Failed(plugins.results[i])) {
      // In its own words, and after other steps: what counts is that nothing is left of the pod.
      EXPECT_TRUE(Failed(builtin.results[i])) << builtin.results[i] << "\n" << plugins.results[i];
      EXPECT_THAT(builtin.results[i], HasSubstr(GetParam().error));
      EXPECT_THAT(plugins.results[i], HasSubstr(GetParam().error));
      EXPECT_THAT(builtin.down, Not(HasSubstr("VETH")));
      return;
    }
    EXPECT_EQ(Value(builtin.results[i]), Value(plugins.results[i])) << builtin.results[i] << "\n" << plugins.results[i];
  }
  EXPECT_EQ(builtin.up, plugins.up);
  EXPECT_EQ(builtin.one_gone, plugins.one_gone);
  EXPECT_EQ(builtin.down, plugins.down);
}

constexpr char kRange4[] = R"(,"ranges":[[{"subnet":"10.213.7.0/24"}]])";
constexpr char kDual[] = R"(,"ranges":[[{"subnet":"10.213.7.0/24"}],[{"subnet":"fd00:7::/64"}]],
    "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}])";
constexpr char kPortmap[] = R"(,{"type":"portmap","capabilities":{"portMappings":true}})";

std::vector<Case> Cases() {
  std::vector<Case> cases = {
      {"Plain", "", kRange4, "", {}},
      {"Gateway",
       R"(,"isGateway":true,"ipMasq":true)",
       std::string(kRange4) + R"(,"routes":[{"dst":"0.0.0.0/0"}])",
       "",
       {}},
      {"DualStack", R"(,"isGateway":true,"ipMasq":true,"hairpinMode":true)", kDual, "", {}},
      {"DefaultGateway",
       R"(,"isDefaultGateway":true,"mtu":1400)",
       R"(,"ranges":[[{"subnet":"10.213.7.0/24"}],[{"subnet":"fd00:7::/64"}]])",
       "",
       {}},
      {"Promiscuous", R"(,"promiscMode":true,"isGateway":true)", kRange4, "", {}},
      {"OldForm",
       R"(,"isGateway":true)",
       R"(,"subnet":"10.213.8.0/24","rangeStart":"10.213.8.20","rangeEnd":"10.213.8.21","gateway":"10.213.8.254","routes":[{"dst":"10.0.0.0/8"},{"dst":"172.16.0.0/12","gw":"10.213.8.9"}])",
       "",
       {}},
      {"Exhausted",
       R"(,"isGateway":true)",
       R"(,"subnet":"10.213.8.0/30")",
       "",
       {},
       "1.0.0",
       "no IP addresses available in range set: 10.213.8.1-10.213.8.2"},
      {"Wanted",
       R"(,"isGateway":true)",
       kDual,
       "",
       {{"ips", R"(["10.213.7.77","fd00:7::77"])"}, {"mac", R"("02:11:22:33:44:55")"}}},
      {"RangesOfTheRequest",
       R"(,"isGateway":true)",
       R"(,"routes":[{"dst":"0.0.0.0/0"}],"ranges":[[{"subnet":"10.213.7.0/24"}]])",
       "",
       {{"ipRanges", R"([[{"subnet":"fd00:9::/64","rangeStart":"fd00:9::10"}]])"}}},
      {"TwoRangesOfOneSet",
       R"(,"isGateway":true)",
       R"(,"ranges":[[{"subnet":"10.213.7.0/24","rangeStart":"10.213.7.9","rangeEnd":"10.213.7.9"},{"subnet":"10.213.9.0/24"}]])",
       "",
       {},
       "1.0.0",
       "already has an IP address different from 10.213.9.1/24"},
      {"TwoRangesOfOneSetForced",
       R"(,"isGateway":true,"forceAddress":true)",
       R"(,"ranges":[[{"subnet":"10.213.7.0/24","rangeStart":"10.213.7.9","rangeEnd":"10.213.7.9"},{"subnet":"10.213.9.0/24"}]])",
       "",
       {}},
      // Without ipMasq: the plugin cannot take its own rules of two such addresses away.
      {"TwoSetsOfOneSubnet",
       R"(,"isGateway":true)",
       R"(,"ranges":[[{"subnet":"10.213.7.0/24","rangeEnd":"10.213.7.9"}],[{"subnet":"10.213.7.0/24","rangeStart":"10.213.7.10"}]])",
       "",
       {}},
      {"Dns", R"(,"isGateway":true,"dns":{"nameservers":["10.0.0.1"],"search":["a.b"],"domain":"b"})", kRange4, "", {}},
      {"Ports",
       R"(,"isGateway":true,"ipMasq":true)",
       kDual,
       kPortmap,
       {{"portMappings",
         R"([{"hostPort":18080,"containerPort":80,"protocol":"tcp"},{"hostPort":18081,"containerPort":81,"protocol":"udp","hostIP":"10.1.1.1"},{"hostPort":18082,"containerPort":82,"protocol":"sctp","hostIP":"::"}])"}}},
      {"PortsWithoutSnat",
       R"(,"isGateway":true)",
       kRange4,
       R"(,{"type":"portmap","snat":false,"capabilities":{"portMappings":true}})",
       {{"portMappings", R"([{"hostPort":18080,"containerPort":80,"protocol":"tcp"}])"}}},
      {"Sysctls",
       R"(,"isGateway":true)",
       kRange4,
       R"(,{"type":"tuning","sysctl":{"net.core.somaxconn":"77","net.ipv4.conf.eth0.rp_filter":"2"}},{"type":"bandwidth","capabilities":{"bandwidth":true}})",
       {}},
      {"BadSysctl",
       R"(,"isGateway":true)",
       kRange4,
       R"(,{"type":"tuning","sysctl":{"net.core.nonsense":"77"}})",
       {},
       "1.0.0",
       "plugin tuning: open /proc/sys/net/core/nonsense"},
      {"Version03", R"(,"isGateway":true)", kDual, "", {}, "0.3.1"},
      {"Version04", R"(,"isGateway":true)", kDual, kPortmap, {}, "0.4.0"},
  };
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Root, RootBuiltinEqualityTest, ::testing::ValuesIn(Cases()),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace davit::network
