// The network that davitd makes itself, beside the one that the plugins make of the same configuration: everything that
// can be seen of both is compared. Each runs in a network namespace of its own that stands for the node.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <regex>

#include <fmt/format.h>

#include "network/builtin.h"
#include "network/nat_table.h"
#include "network/netns.h"
#include "network/network.h"
#include "network/plugin_fixture.h"
#include "network/private_node_fixture.h"
#include "oci/json.h"
#include "sys/process.h"

namespace davit::network {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPluginDir[] = "/usr/lib/cni";

Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

const char* MissingHere() {
  if (::geteuid() != 0) return "needs root, for network namespaces";
  for (const char* name : {"bridge", "host-local", "portmap", "tuning", "bandwidth"}) {
    if (::access((std::string(kPluginDir) + "/" + name).c_str(), X_OK) != 0) return "needs the CNI plugins";
  }
  return nullptr;
}

std::string Run(std::vector<std::string> argv) {
  sys::SpawnOptions options;
  options.argv = std::move(argv);
  options.env = sys::MinimalEnvironment();
  auto result = sys::RunCommand(options, "", 4 << 20, Soon());
  return result.ok() ? result->out + result->err : result.status().ToString();
}

// What differs from one time to the next, and is nobody's choice, is taken out.
std::string Normal(std::string text) {
  static const std::pair<std::regex, const char*> rules[] = {
      {std::regex("veth[0-9a-f]{8}"), "VETH"},
      {std::regex("bridge_id [^ ]+"), "bridge_id ID"},
      {std::regex("designated_(root|bridge) [^ ]+"), "designated ID"},
      {std::regex("(([0-9a-f]{2}:){5})[0-9a-f]{2}"), "MAC"},
      {std::regex("(^|\n)[0-9]+: "), "$1"},
      {std::regex("@if[0-9]+"), "@if"},
      {std::regex("if[0-9]+@"), "if@"},
      {std::regex("fe80::[0-9a-f:]+/64"), "fe80::LL/64"},
      {std::regex("(tentative|noprefixroute) "), ""},
      {std::regex("_timer +[0-9.]+"), "_timer T"},
      {std::regex("link-netns(id)? [^ ]+"), "link-netns X"},
      {std::regex("topology_change_detected [0-9]"), "topology_change_detected X"},
      {std::regex("topology_change [0-9]"), "topology_change X"},
      {std::regex("state (forwarding|learning|listening|disabled) priority"), "state S priority"},
  };
  for (const auto& [pattern, by] : rules) text = std::regex_replace(text, pattern, by);
  return text;
}

struct Case {
  std::string name;
  std::string bridge;    // members of the bridge plugin, without its ipam
  std::string ipam;      // members of its ipam, without dataDir
  std::string chained;   // further plugins, each with a comma before it
  std::map<std::string, std::string> capabilities;
  std::string version = "1.0.0";
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

// One node with the pods that one of the two makes.
class Side {
 public:
  Side(bool builtin, const Case& test) : builtin_(builtin), case_(test) {
    auto config = ParseNetworkConfig(R"({"cniVersion":")" + test.version + R"(","name":"same","plugins":[{"type":"bridge",
        "bridge":"dvtsame0","capabilities":{"mac":true,"ips":true,"ipRanges":true})" +
                                     test.bridge + R"(,"ipam":{"type":"host-local","dataDir":")" + leases() + "\"" +
                                     test.ipam + "}}" + test.chained + "]}");
    EXPECT_TRUE(config.ok()) << config.status().ToString();
    config_ = *config;
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;
  ~Side() {
    for (const PluginContext& pod : pods_) EXPECT_TRUE(sys::Unpin(pod.netns_path).ok());
  }

  [[nodiscard]] std::string leases() const { return dir_.Join("ipam"); }
  [[nodiscard]] const NetworkConfig& config() const { return config_; }
  void TakeTurns(bool builtin) { builtin_ = builtin; }

  PluginContext NewPod(std::map<std::string, std::string> capabilities) {
    PluginContext pod;
    pod.bin_dirs = {kPluginDir};
    pod.container_id = "pod" + std::to_string(pods_.size());
    pod.netns_path = dir_.Join("ns" + std::to_string(pods_.size()));
    pod.interface = "eth0";
    pod.args = "IgnoreUnknown=1";
    pod.capability_args = std::move(capabilities);
    Status made = sys::CreatePinnedNamespaces({{sys::NamespaceKind::kNet, pod.netns_path}}, HardenNamespace);
    EXPECT_TRUE(made.ok()) << made.ToString();
    pods_.push_back(pod);
    return pod;
  }

  std::string Add(const PluginContext& pod) {
    if (builtin_) {
      Status can = CanBuild(config_, pod);
      EXPECT_TRUE(can.ok()) << can.ToString();
    }
    auto result = builtin_ ? BuildNetwork(config_, pod, Soon()) : AddNetwork(config_, pod, Soon());
    return result.ok() ? *result : "ERROR " + result.status().ToString();
  }
  Status Del(const PluginContext& pod, const std::string& result) {
    return builtin_ ? UnbuildNetwork(config_, pod, result) : DelNetwork(config_, pod, result, Soon());
  }

  // Everything that can be seen from inside of a namespace.
  static std::string Visible() {
    std::string seen;
    for (const std::vector<std::string>& argv : std::vector<std::vector<std::string>>{
             {"ip", "-d", "link"}, {"ip", "-4", "address"}, {"ip", "-6", "address"}, {"ip", "route"}, {"ip", "-6", "route"}}) {
      seen += "--- " + Join(argv, " ") + "\n" + Run(argv);
    }
    seen += "--- sysctl\n";
    for (const char* link : {"dvtsame0", "eth0"}) {
      for (const char* name :
           {"ipv4/conf/LINK/arp_notify", "ipv4/conf/LINK/route_localnet", "ipv6/conf/LINK/accept_ra",
            "ipv6/conf/LINK/accept_dad", "ipv6/conf/LINK/disable_ipv6", "ipv4/conf/LINK/rp_filter"}) {
        std::string path = "/proc/sys/net/" + std::regex_replace(std::string(name), std::regex("LINK"), link);
        seen += path + " " + sys::ReadFile(path, 64).value_or("none\n");
      }
    }
    for (const char* path : {"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding",
                             "/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv6/conf/lo/disable_ipv6"}) {
      seen += std::string(path) + " " + sys::ReadFile(path, 64).value_or("none\n");
    }
    return seen;
  }

  std::string Leases() const {
    std::map<std::string, std::string> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(leases(), error)) {
      if (!entry.is_regular_file()) continue;
      const auto mode = static_cast<unsigned>(entry.status().permissions()) & 07777u;
      files[entry.path().string().substr(leases().size())] =
          fmt::format("{:o} {}", mode, Printable(sys::ReadFile(entry.path().string(), 4096).value_or("unreadable")));
    }
    std::string text = "--- leases\n";
    for (const auto& [name, content] : files) text += name + " " + content + "\n";
    return text;
  }

  std::string State() {
    std::string text = "=== node\n" + Visible() + Leases();
    for (const PluginContext& pod : pods_) {
      text += "=== " + pod.container_id + "\n";
      Status ran = sys::RunInNamespace(pod.netns_path, sys::NamespaceKind::kNet, [&] {
        text += Visible();
        return Status();
      });
      EXPECT_TRUE(ran.ok());
    }
    std::string normal = Normal(text);
    // The namespaces' names hold a random part.
    return std::regex_replace(normal, std::regex(dir_.path()), "DIR");
  }
  std::string NormalResult(const std::string& result) {
    return std::regex_replace(Normal(result), std::regex(dir_.path()), "DIR");
  }

 private:
  PrivateNode node_;
  TempDir dir_;
  bool builtin_;
  Case case_;
  NetworkConfig config_;
  std::vector<PluginContext> pods_;
};

// Results as values, so that the order of members does not count.
boost::json::value Value(const std::string& text) {
  auto value = oci::ParseJson(text);
  return value.ok() ? *value : boost::json::value(text.c_str());
}

struct Seen {
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
  seen.statuses.push_back(side.Del(a, result_a).ToString());
  seen.one_gone = side.State();
  seen.statuses.push_back(side.Del(b, result_b).ToString());
  // Once more, and of one that never was.
  seen.statuses.push_back(side.Del(b, result_b).ToString());
  seen.statuses.push_back(side.Del(side.NewPod({}), "").ToString());
  seen.down = side.State();
  return seen;
}

class RootBuiltinEqualityTest : public ::testing::TestWithParam<Case> {};

TEST_P(RootBuiltinEqualityTest, MakesWhatThePluginsMake) {
  if (const char* missing = MissingHere()) GTEST_SKIP() << missing;
  const Seen plugins = Observe(false, GetParam());
  const Seen builtin = Observe(true, GetParam());
  for (size_t i = 0; i < plugins.results.size(); ++i) {
    EXPECT_EQ(Value(builtin.results[i]), Value(plugins.results[i]))
        << builtin.results[i] << "\n" << plugins.results[i];
  }
  EXPECT_EQ(builtin.up, plugins.up);
  EXPECT_EQ(builtin.one_gone, plugins.one_gone);
  EXPECT_EQ(builtin.down, plugins.down);
  EXPECT_EQ(builtin.statuses, plugins.statuses);
}

constexpr char kRange4[] = R"(,"ranges":[[{"subnet":"10.213.7.0/24"}]])";
constexpr char kDual[] = R"(,"ranges":[[{"subnet":"10.213.7.0/24"}],[{"subnet":"fd00:7::/64"}]],
    "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}])";
constexpr char kPortmap[] = R"(,{"type":"portmap","capabilities":{"portMappings":true}})";

std::vector<Case> Cases() {
  std::vector<Case> cases = {
      {"Plain", "", kRange4, "", {}},
      {"Gateway", R"(,"isGateway":true,"ipMasq":true)", std::string(kRange4) + R"(,"routes":[{"dst":"0.0.0.0/0"}])", "", {}},
      {"DualStack", R"(,"isGateway":true,"ipMasq":true,"hairpinMode":true)", kDual, "", {}},
      {"DefaultGateway", R"(,"isDefaultGateway":true,"mtu":1400)", R"(,"ranges":[[{"subnet":"10.213.7.0/24"}],[{"subnet":"fd00:7::/64"}]])", "", {}},
      {"Promiscuous", R"(,"promiscMode":true,"isGateway":true)", kRange4, "", {}},
      {"OldForm", R"(,"isGateway":true)", R"(,"subnet":"10.213.8.0/24","rangeStart":"10.213.8.20","rangeEnd":"10.213.8.21","gateway":"10.213.8.254","routes":[{"dst":"10.0.0.0/8"},{"dst":"172.16.0.0/12","gw":"10.213.8.9"}])", "", {}},
      {"Exhausted", R"(,"isGateway":true)", R"(,"subnet":"10.213.8.0/30")", "", {}},
      {"Wanted", R"(,"isGateway":true)", kDual, "", {{"ips", R"(["10.213.7.77","fd00:7::77"])"}, {"mac", R"("02:11:22:33:44:55")"}}},
      {"RangesOfTheRequest", R"(,"isGateway":true)", R"(,"routes":[{"dst":"0.0.0.0/0"}],"ranges":[[{"subnet":"10.213.7.0/24"}]])", "", {{"ipRanges", R"([[{"subnet":"fd00:9::/64","rangeStart":"fd00:9::10"}]])"}}},
      {"TwoRangesOfOneSet", R"(,"isGateway":true)", R"(,"ranges":[[{"subnet":"10.213.7.0/24","rangeStart":"10.213.7.9","rangeEnd":"10.213.7.9"},{"subnet":"10.213.9.0/24"}]])", "", {}},
      {"TwoRangesOfOneSetForced", R"(,"isGateway":true,"forceAddress":true)", R"(,"ranges":[[{"subnet":"10.213.7.0/24","rangeStart":"10.213.7.9","rangeEnd":"10.213.7.9"},{"subnet":"10.213.9.0/24"}]])", "", {}},
      {"Dns", R"(,"isGateway":true,"dns":{"nameservers":["10.0.0.1"],"search":["a.b"],"domain":"b"})", kRange4, "", {}},
      {"Ports", R"(,"isGateway":true,"ipMasq":true)", kDual, kPortmap, {{"portMappings", R"([{"hostPort":18080,"containerPort":80,"protocol":"tcp"},{"hostPort":18081,"containerPort":81,"protocol":"udp","hostIP":"10.1.1.1"},{"hostPort":18082,"containerPort":82,"protocol":"sctp","hostIP":"::"}])"}}},
      {"PortsWithoutSnat", R"(,"isGateway":true)", kRange4, R"(,{"type":"portmap","snat":false,"capabilities":{"portMappings":true}})", {{"portMappings", R"([{"hostPort":18080,"containerPort":80,"protocol":"tcp"}])"}}},
      {"Sysctls", R"(,"isGateway":true)", kRange4, R"(,{"type":"tuning","sysctl":{"net.core.somaxconn":"77","net.ipv4.conf.eth0.rp_filter":"2"}},{"type":"bandwidth","capabilities":{"bandwidth":true}})", {}},
      {"BadSysctl", R"(,"isGateway":true)", kRange4, R"(,{"type":"tuning","sysctl":{"net.core.nonsense":"77"}})", {}},
      {"Version03", R"(,"isGateway":true)", kDual, "", {}, "0.3.1"},
      {"Version04", R"(,"isGateway":true)", kDual, kPortmap, {}, "0.4.0"},
  };
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Root, RootBuiltinEqualityTest, ::testing::ValuesIn(Cases()),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace davit::network
