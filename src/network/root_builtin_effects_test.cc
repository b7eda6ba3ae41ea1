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

}  // namespace
}  // namespace davit::network
