// What the rules of both do: the same packets arrive, with the same source addresses. And nodes on which plugins and
// davitd take turns.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "network/builtin_effects_fixture.h"
#include "network/builtin_node_fixture.h"
#include "network/nat_table.h"
#include "network/result.h"

namespace davit::network {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kTcpPort = 8080;
constexpr int kUdpPort = 8081;

BuiltinCase PortCase(const std::string& bridge = "", const std::string& portmap = "") {
  BuiltinCase test;
  test.name = "Ports";
  test.bridge = R"(,"isGateway":true,"ipMasq":true,"hairpinMode":true)" + bridge;
  test.ipam = R"(,"ranges":[[{"subnet":"10.213.7.0/24"}],[{"subnet":"fd00:7::/64"}]],
    "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}])";
  test.chained = R"(,{"type":"portmap","capabilities":{"portMappings":true})" + portmap + "}";
  return test;
}

constexpr char kPorts[] = R"([{"hostPort":18080,"containerPort":8080,"protocol":"tcp"},
  {"hostPort":18081,"containerPort":8081,"protocol":"udp"},
  {"hostPort":18082,"containerPort":8080,"protocol":"tcp","hostIP":"192.0.2.1"},
  {"hostPort":18083,"containerPort":8080,"protocol":"tcp","hostIP":"127.0.0.1"},
  {"hostPort":18084,"containerPort":8084,"protocol":"sctp"},
  {"hostPort":18085,"containerPort":8080,"protocol":"tcp","hostIP":"2001:db8::1"},
  {"hostPort":18086,"containerPort":8081,"protocol":"udp","hostIP":"0.0.0.0"}])";

// A machine beyond the node, which knows no way to the pods.
class Outside {
 public:
  explicit Outside(const std::string& pin) : pin_(pin) {
    EXPECT_TRUE(sys::CreatePinnedNamespaces({{sys::NamespaceKind::kNet, pin}}, HardenNamespace).ok());
    Run({"ip", "link", "add", "out0", "type", "veth", "peer", "name", "out1"});
    Run({"ip", "link", "set", "out1", "netns", pin});
    Configure("out0", "1", "");
    Configure("out1", "2", pin);
  }
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;
  ~Outside() { EXPECT_TRUE(sys::Unpin(pin_).ok()); }

 private:
  static void Configure(const std::string& link, const std::string& host, const std::string& netns) {
    for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
             {"ip", "address", "add", "192.0.2." + host + "/24", "dev", link},
             {"ip", "address", "add", "2001:db8::" + host + "/64", "dev", link, "nodad"},
             {"ip", "link", "set", link, "up"}}) {
      std::vector<std::string> argv;
      if (!netns.empty()) argv = {"nsenter", "--net=" + netns};
      argv.insert(argv.end(), command.begin(), command.end());
      EXPECT_EQ(Run(argv), "");
    }
  }
  std::string pin_;
};

// Until the bridge's IPv6 address can be used: it is probed first, in both.
void AwaitNodeAddresses() {
  for (Deadline end = Soon(); !end.expired(); ::poll(nullptr, 0, 20)) {
    if (Run({"ip", "-6", "address"}).find("tentative") == std::string::npos) return;
  }
  ADD_FAILURE() << "addresses stay tentative";
}

std::vector<std::string> Effects(bool builtin, const BuiltinCase& test) {
  Side side(builtin, test);
  TempDir dir;
  const std::string outside = dir.Join("outside");
  Outside machine(outside);
  PluginContext a = side.NewPod({{"portMappings", kPorts}});
  PluginContext b = side.NewPod({});
  // The other pod first: connections are tracked from then on, in both.
  std::string result_b = side.Add(b);
  std::vector<std::string> seen;
  sys::UniqueFd old_flow = SocketIn(outside, AF_INET, SOCK_DGRAM, 0);
  SocketAddress node = SocketAddress::Of("192.0.2.1", 18081);
  EXPECT_EQ(::sendto(old_flow.get(), "?", 1, 0, node.get(), node.size), 1);
  std::string result_a = side.Add(a);
  EXPECT_THAT(result_a, HasSubstr("10.213.7.3/24"));
  AwaitNodeAddresses();
  sys::UniqueFd tcp = ServerIn(a.netns_path, true, kTcpPort);
  sys::UniqueFd udp = ServerIn(a.netns_path, false, kUdpPort);
  sys::UniqueFd beyond = ServerIn(outside, true, 80);
  sys::UniqueFd udp_beyond = ServerIn(outside, false, 80);
  const auto note = [&](const std::string& what, const std::string& outcome) { seen.push_back(what + ": " + outcome); };

  note("udp flow of before", TryUdpWith(old_flow, "192.0.2.1", 18081, udp));
  const std::pair<std::string, std::string> sources[] = {
      {"node", ""}, {"outside", outside}, {"itself", a.netns_path}, {"other pod", b.netns_path}};
  for (const auto& [name, from] : sources) {
    note(name + " -> pod", TryTcp(from, "10.213.7.3", kTcpPort, tcp));
    note(name + " -> pod, v6", TryTcp(from, "fd00:7::3", kTcpPort, tcp));
    for (const char* ip : {"192.0.2.1", "10.213.7.1", "127.0.0.1", "2001:db8::1", "fd00:7::1", "::1"}) {
      const std::string way = name + " -> " + ip;
      note(way + " tcp 18080", TryTcp(from, ip, 18080, tcp));
      note(way + " udp 18081", TryUdp(from, ip, 18081, udp));
      for (int port : {18082, 18083, 18085}) note(way + " tcp " + std::to_string(port), TryTcp(from, ip, port, tcp));
      note(way + " udp 18086", TryUdp(from, ip, 18086, udp));
    }
    note(name + " sctp", TrySctp(from, "192.0.2.1", 18084, a.netns_path));
  }
  for (const PluginContext& pod : {a, b}) {
    note(pod.container_id + " -> outside", TryTcp(pod.netns_path, "192.0.2.2", 80, beyond));
    note(pod.container_id + " -> outside, v6", TryTcp(pod.netns_path, "2001:db8::2", 80, beyond));
    note(pod.container_id + " -> outside, udp", TryUdp(pod.netns_path, "192.0.2.2", 80, udp_beyond));
  }
  EXPECT_EQ(side.Del(a, result_a).ToString(), "OK");
  note("after its end", TryTcp(outside, "192.0.2.1", 18080, tcp));
  note("the other pod, after its end", TryTcp(b.netns_path, "192.0.2.2", 80, beyond));
  EXPECT_EQ(side.Del(b, result_b).ToString(), "OK");
  return seen;
}

class RootBuiltinEffectsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* missing = MissingHere()) GTEST_SKIP() << missing;
  }
};

TEST_F(RootBuiltinEffectsTest, TheSamePacketsArriveFromTheSameAddresses) {
  const std::vector<std::string> plugins = Effects(false, PortCase());
  const std::vector<std::string> builtin = Effects(true, PortCase());
  ASSERT_EQ(builtin.size(), plugins.size());
  for (size_t i = 0; i < plugins.size(); ++i) EXPECT_EQ(builtin[i], plugins[i]);
  // Not only equal, but as it should be.
  EXPECT_THAT(builtin, ::testing::Contains("node -> 127.0.0.1 tcp 18080: from 10.213.7.1"));
  EXPECT_THAT(builtin, ::testing::Contains("itself -> 192.0.2.1 tcp 18080: from 10.213.7.1"));
  EXPECT_THAT(builtin, ::testing::Contains("outside -> 192.0.2.1 tcp 18080: from 192.0.2.2"));
  EXPECT_THAT(builtin, ::testing::Contains("outside -> 2001:db8::1 tcp 18080: from 2001:db8::2"));
  EXPECT_THAT(builtin, ::testing::Contains("outside sctp: from 192.0.2.2 to port 8084"));
  EXPECT_THAT(builtin, ::testing::Contains("udp flow of before: from 192.0.2.2"));
  EXPECT_THAT(builtin, ::testing::Contains("pod0 -> outside: from 192.0.2.1"));
  if (HasFailure()) {
    for (const std::string& line : builtin) printf("%s\n", line.c_str());
  }
}

TEST_F(RootBuiltinEffectsTest, WithoutSnatAndWithoutMasquerade) {
  BuiltinCase test = PortCase(R"(,"mtu":1400)", R"(,"snat":false)");
  const std::vector<std::string> plugins = Effects(false, test);
  const std::vector<std::string> builtin = Effects(true, test);
  ASSERT_EQ(builtin.size(), plugins.size());
  for (size_t i = 0; i < plugins.size(); ++i) EXPECT_EQ(builtin[i], plugins[i]);
}

std::string Table() { return Run({"nft", "list", "table", "inet", "davit"}); }

TEST_F(RootBuiltinEffectsTest, PluginsAndDavitdTakeTurnsOnOneNode) {
  Side side(/*builtin=*/false, PortCase());
  PluginContext first =
      side.NewPod({{"portMappings", R"([{"hostPort":18080,"containerPort":8080,"protocol":"tcp"}])"}});
  PluginContext second =
      side.NewPod({{"portMappings", R"([{"hostPort":18090,"containerPort":8080,"protocol":"tcp"}])"}});
  PluginContext third = side.NewPod({});
  const std::string by_plugins = side.Add(first);
  EXPECT_THAT(by_plugins, HasSubstr("10.213.7.2/24"));
  side.TakeTurns(/*builtin=*/true);
  const std::string by_davitd = side.Add(second);
  // The bridge is used as it is, and the address is the next one.
  EXPECT_THAT(by_davitd, HasSubstr("10.213.7.3/24"));
  sys::UniqueFd one = ServerIn(first.netns_path, true, kTcpPort);
  sys::UniqueFd two = ServerIn(second.netns_path, true, kTcpPort);
  EXPECT_EQ(TryTcp("", "127.0.0.1", 18080, one), "from 10.213.7.1");
  EXPECT_EQ(TryTcp("", "127.0.0.1", 18090, two), "from 10.213.7.1");
  EXPECT_EQ(TryTcp(first.netns_path, "10.213.7.1", 18090, two), "from 10.213.7.1");
  EXPECT_EQ(TryTcp(second.netns_path, "10.213.7.1", 18080, one), "from 10.213.7.1");
  side.TakeTurns(/*builtin=*/false);
  const std::string again = side.Add(third);
  EXPECT_THAT(again, HasSubstr("10.213.7.4/24"));
  // Each is taken away by who has made it.
  EXPECT_EQ(side.Del(first, by_plugins).ToString(), "OK");
  EXPECT_EQ(TryTcp("", "127.0.0.1", 18090, two), "from 10.213.7.1");
  EXPECT_EQ(side.Del(third, again).ToString(), "OK");
  side.TakeTurns(/*builtin=*/true);
  EXPECT_EQ(side.Del(second, by_davitd).ToString(), "OK");
  EXPECT_THAT(side.Leases(), Not(HasSubstr("pod")));
  EXPECT_THAT(side.State(), Not(HasSubstr("VETH")));
  EXPECT_THAT(network::Run({"iptables-save", "-t", "nat"}), Not(HasSubstr("10.213.7.")));
  EXPECT_THAT(Table(), Not(HasSubstr("elements = { tcp")));
}

TEST_F(RootBuiltinEffectsTest, AHostPortLeadsToOnePod) {
  Side side(/*builtin=*/true, PortCase());
  const std::string ports = R"([{"hostPort":18080,"containerPort":8080,"protocol":"tcp"}])";
  PluginContext first = side.NewPod({{"portMappings", ports}});
  PluginContext second = side.NewPod({{"portMappings", ports}});
  PluginContext third =
      side.NewPod({{"portMappings", R"([{"hostPort":18080,"containerPort":8080,"protocol":"udp"}])"}});
  const std::string result = side.Add(first);
  // As the node's administrator sees it.
  EXPECT_THAT(Table(), HasSubstr("elements = { tcp . 18080 : 10.213.7.2 . 8080 }"));
  EXPECT_THAT(side.Add(second), HasSubstr("host port 18080/tcp leads to 10.213.7.2 already"));
  // Neither its failure nor its end touches what belongs to the first.
  EXPECT_EQ(side.Del(second, "").ToString(), "OK");
  sys::UniqueFd server = ServerIn(first.netns_path, true, kTcpPort);
  EXPECT_EQ(TryTcp("", "127.0.0.1", 18080, server), "from 10.213.7.1");
  const std::string udp = side.Add(third);
  EXPECT_THAT(udp, HasSubstr("ips"));
  EXPECT_EQ(side.Del(third, udp).ToString(), "OK");
  EXPECT_EQ(side.Del(first, result).ToString(), "OK");
  const std::string later = side.Add(second);
  EXPECT_THAT(later, HasSubstr("ips"));
  EXPECT_EQ(side.Del(second, later).ToString(), "OK");
}

TEST_F(RootBuiltinEffectsTest, ItIsTakenAwayWithoutAResultAndWithoutTheNamespace) {
  Side side(/*builtin=*/true, PortCase());
  PluginContext pod = side.NewPod({{"portMappings", kPorts}});
  // As after a davitd that was killed before it could record the result.
  EXPECT_THAT(side.Add(pod), HasSubstr("ips"));
  EXPECT_EQ(side.Del(pod, "").ToString(), "OK");
  EXPECT_THAT(side.State(), Not(HasSubstr("VETH")));
  EXPECT_THAT(side.Leases(), Not(HasSubstr("pod")));
  EXPECT_THAT(Table(), Not(HasSubstr("elements = { tcp")));
  // Again in the same namespace, with the interface of before perhaps still there; then it is gone.
  const std::string result = side.Add(pod);
  EXPECT_THAT(result, HasSubstr("ips"));
  PluginContext gone = pod;
  gone.netns_path.clear();
  EXPECT_EQ(side.Del(gone, result).ToString(), "OK");
  EXPECT_THAT(side.Leases(), Not(HasSubstr("pod")));
  EXPECT_THAT(Table(), Not(HasSubstr("elements = { tcp")));
}

TEST_F(RootBuiltinEffectsTest, AnEmptiedTableIsWrittenAgain) {
  Side side(/*builtin=*/true, PortCase());
  PluginContext first = side.NewPod({{"portMappings", kPorts}});
  const std::string result = side.Add(first);
  EXPECT_EQ(network::Run({"nft", "flush", "ruleset"}), "");
  PluginContext second =
      side.NewPod({{"portMappings", R"([{"hostPort":18090,"containerPort":8080,"protocol":"tcp"}])"}});
  const std::string later = side.Add(second);
  sys::UniqueFd server = ServerIn(second.netns_path, true, kTcpPort);
  EXPECT_EQ(TryTcp("", "127.0.0.1", 18090, server), "from 10.213.7.1");
  EXPECT_EQ(side.Del(first, result).ToString(), "OK");
  EXPECT_EQ(side.Del(second, later).ToString(), "OK");
}

TEST_F(RootBuiltinEffectsTest, WhatDavitdDoesNotKnowIsLeftToThePlugins) {
  const auto why = [](const std::string& bridge, const std::string& chained) {
    BuiltinCase test = PortCase(bridge);
    test.chained = chained;
    Side side(/*builtin=*/true, test);
    return BuiltinNetwork::Can(side.config(), side.NewPod({})).ToString();
  };
  EXPECT_EQ(why("", ""), "OK");
  EXPECT_THAT(why(R"(,"vlan":7)", ""), HasSubstr("vlan"));
  EXPECT_THAT(why(R"(,"macspoofchk":true)", ""), HasSubstr("macspoofchk"));
  EXPECT_THAT(why(R"(,"enabledad":true)", ""), HasSubstr("enabledad"));
  EXPECT_THAT(why(R"(,"preserveDefaultVlan":false)", ""), HasSubstr("preserveDefaultVlan"));
  EXPECT_THAT(why("", R"(,{"type":"firewall"})"), HasSubstr("firewall"));
  EXPECT_THAT(why("", R"(,{"type":"tuning","promisc":true})"), HasSubstr("link"));
  EXPECT_THAT(why("", R"(,{"type":"tuning","sysctl":{"kernel.panic":"1"}})"), HasSubstr("kernel.panic"));
  EXPECT_THAT(why("", R"(,{"type":"bandwidth","ingressRate":1000,"ingressBurst":1000})"), HasSubstr("bandwidth"));
  EXPECT_THAT(why("", R"(,{"type":"portmap","conditionsV4":["-s","10.0.0.0/8"]})"), HasSubstr("conditionsV4"));
  EXPECT_THAT(why("", R"(,{"type":"portmap","externalSetMarkChain":"X"})"), HasSubstr("externalSetMarkChain"));
}

}  // namespace
}  // namespace davit::network
