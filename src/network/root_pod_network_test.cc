// Named networks with the real plugins. Each test runs in a network namespace of its own that stands for the node.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>

#include <filesystem>
#include <fstream>

#include "network/fake_network.h"
#include "network/named_networks.h"
#include "network/netns.h"
#include "network/network_contract.h"
#include "network/node_links.h"
#include "network/plugin_fixture.h"
#include "network/pod_network.h"
#include "network/private_node_fixture.h"
#include "sys/process.h"

namespace davit::network {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kPluginDir[] = "/usr/lib/cni";

const char* MissingHere() {
  if (::geteuid() != 0) return "needs root, for network namespaces";
  for (const char* name : {"bridge", "host-local", "portmap", "firewall"}) {
    if (::access((std::string(kPluginDir) + "/" + name).c_str(), X_OK) != 0) {
      return "needs the CNI plugins (package containernetworking-plugins)";
    }
  }
  return nullptr;
}

std::string Output(std::vector<std::string> argv, const std::string& netns = "") {
  sys::SpawnOptions options;
  options.argv = std::move(argv);
  options.env = sys::MinimalEnvironment();
  sys::UniqueFd fd;
  if (!netns.empty()) {
    fd.reset(::open(netns.c_str(), O_RDONLY | O_CLOEXEC));
    options.netns_fd = fd.get();
  }
  auto result = sys::RunCommand(options, "", 1 << 20, TestDeadline());
  return result.ok() ? result->out : result.status().ToString();
}

// Made by the plugins, and by davitd itself.
class RootPodNetworkTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (const char* missing = MissingHere()) GTEST_SKIP() << missing;
    node_ = std::make_unique<PrivateNode>();
    Open();
  }
  void TearDown() override {
    for (const std::string& pin : pins_) EXPECT_TRUE(sys::Unpin(pin).ok());
  }
  // Also what a restart of davitd does.
  void Open() {
    network_.reset();
    auto networks = NamedNetworks::Open({dir_.Join("networks"), dir_.Join("leases")});
    ASSERT_TRUE(networks.ok()) << networks.status().ToString();
    networks_ = std::move(*networks);
    network_ = std::make_unique<PodNetwork>(PodNetworkOptions{{kPluginDir}, 0, GetParam()}, fake_, *networks_);
  }

  NetworkPtr Create(const std::string& name, std::vector<SubnetConfig> subnets = {}) {
    NamedNetwork wanted;
    wanted.name = name;
    wanted.subnets = std::move(subnets);
    auto made = networks_->Create(wanted);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return made.ok() ? *made : nullptr;
  }

  NetworkRequest NewPod(std::vector<EndpointRequest> endpoints) {
    NetworkRequest request;
    request.pod = PodId::Mint();
    request.name = "web";
    request.netns_path = dir_.Join("ns" + std::to_string(pins_.size()));
    request.endpoints = std::move(endpoints);
    Status made = sys::CreatePinnedNamespaces({{sys::NamespaceKind::kNet, request.netns_path}}, HardenNamespace);
    EXPECT_TRUE(made.ok()) << made.ToString();
    pins_.push_back(request.netns_path);
    return request;
  }

  Attachment Attach(const NetworkRequest& pod) {
    auto planned = network_->Plan(pod);
    EXPECT_TRUE(planned.ok()) << planned.status().ToString();
    if (!planned.ok()) return {};
    auto attached = network_->Attach(pod, *planned, TestDeadline());
    EXPECT_TRUE(attached.ok()) << attached.status().ToString();
    return attached.ok() ? *attached : *planned;
  }
  void Detach(const NetworkRequest& pod, const Attachment& attachment) {
    auto recorded = Attachment::Parse(attachment.ToJson());
    ASSERT_TRUE(recorded.ok()) << recorded.status().ToString();
    Status detached = network_->Detach(pod, *recorded, TestDeadline());
    EXPECT_TRUE(detached.ok()) << detached.ToString();
  }

  std::vector<std::string> Leases() {
    std::vector<std::string> leases;
    std::error_code error;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.Join("leases"), error)) {
      std::string name = entry.path().filename();
      if (entry.is_regular_file() && Address::Parse(name)) leases.push_back(name);
    }
    return leases;
  }
  std::vector<std::string> Veths() {
    std::vector<std::string> veths = LinkNames().value_or(std::vector<std::string>());
    std::erase_if(veths, [](const std::string& name) { return name.rfind("veth", 0) != 0; });
    return veths;
  }
  // The kernel takes the time that it needs for links that davitd has given up.
  void ExpectVeths(size_t count) {
    for (Deadline end = TestDeadline(); Veths().size() != count && !end.expired();) ::poll(nullptr, 0, 5);
    EXPECT_EQ(Veths().size(), count);
  }
  void ExpectNothingOf(const NetworkRequest& pod) {
    EXPECT_THAT(Leases(), IsEmpty());
    ExpectVeths(0);
    EXPECT_THAT(Output({"iptables-save"}), Not(HasSubstr(pod.pod.str())));
  }

  TempDir dir_;
  std::unique_ptr<PrivateNode> node_;
  FakeNetwork fake_;
  std::unique_ptr<NamedNetworks> networks_;
  std::unique_ptr<PodNetwork> network_;
  std::vector<std::string> pins_;
};

TEST_P(RootPodNetworkTest, APodWithoutEndpointsIsTheNodes) {
  NetworkRequest pod = NewPod({});
  Attachment attachment = Attach(pod);
  EXPECT_THAT(attachment.endpoints, IsEmpty());
  EXPECT_THAT(fake_.attached(), SizeIs(1));
  Detach(pod, attachment);
  EXPECT_THAT(fake_.attached(), IsEmpty());
}

TEST_P(RootPodNetworkTest, TheDefaultNetworkIsMadeByItsFirstPod) {
  auto unmade = networks_->Find("");
  ASSERT_TRUE(unmade.ok());
  EXPECT_TRUE((*unmade)->config.empty());
  NetworkRequest pod = NewPod({{"", {}, "", ""}});
  Attachment attachment = Attach(pod);
  EXPECT_THAT(attachment.ips, ElementsAre(StartsWith("10.88.0.")));
  EXPECT_THAT(*LinkNames(), Contains("davit0"));
  EXPECT_EQ((*networks_->Find("bridge"))->id, (*unmade)->id);
  EXPECT_EQ(networks_->Remove("bridge").code(), StatusCode::kFailedPrecondition);
  Detach(pod, attachment);
  ExpectNothingOf(pod);
}

TEST_P(RootPodNetworkTest, TheDefaultNetworkGivesWayToWhatTheNodeHas) {
  Output({"ip", "link", "add", "lan0", "type", "bridge"});
  Output({"ip", "address", "add", "10.88.3.1/20", "dev", "lan0"});
  auto made = networks_->Use("");
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ((*made)->subnets[0].subnet, "10.89.0.0/24");
}

TEST_P(RootPodNetworkTest, TwoNetworksStaticAddressAndMac) {
  Create("front");
  Create("back");
  NetworkRequest pod = NewPod({{"front", {"10.89.0.77"}, "02:00:00:00:00:0a", ""}, {"back", {}, "", "data0"}});
  Attachment attachment = Attach(pod);
  ASSERT_THAT(attachment.endpoints, SizeIs(2));
  EXPECT_THAT(attachment.ips, ElementsAre("10.89.0.77", StartsWith("10.89.1.")));
  EndpointAddresses front = AddressesOf(attachment.endpoints[0]);
  EXPECT_THAT(front.ip_cidrs, ElementsAre("10.89.0.77/24"));
  EXPECT_EQ(front.gateway, "10.89.0.1");
  EXPECT_EQ(front.mac, "02:00:00:00:00:0a");
  std::string links = Output({"ip", "-o", "address"}, pod.netns_path);
  EXPECT_THAT(links, HasSubstr("eth0    inet 10.89.0.77/24"));
  EXPECT_THAT(links, HasSubstr("data0    inet 10.89.1."));
  std::string routes = Output({"ip", "route"}, pod.netns_path);
  EXPECT_THAT(routes, HasSubstr("default via 10.89.0.1 dev eth0"));
  EXPECT_THAT(routes, Not(HasSubstr("default via 10.89.1.1")));
  Detach(pod, attachment);
  ExpectNothingOf(pod);
  EXPECT_TRUE(networks_->Remove("front").ok());
  EXPECT_TRUE(networks_->Remove("back").ok());
  EXPECT_THAT(*LinkNames(), ElementsAre("lo"));
  EXPECT_THAT(Output({"iptables-save", "-t", "nat"}), Not(HasSubstr("10.89.")));
}

TEST_P(RootPodNetworkTest, AnAddressThatIsTakenIsRefusedAndLeavesNothing) {
  Create("front");
  NetworkRequest first = NewPod({{"front", {"10.89.0.9"}, "", ""}});
  Attachment attachment = Attach(first);
  NetworkRequest second = NewPod({{"", {}, "", ""}, {"front", {"10.89.0.9"}, "", ""}});
  auto planned = network_->Plan(second);
  ASSERT_TRUE(planned.ok());
  auto refused = network_->Attach(second, *planned, TestDeadline());
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr("10.89.0.9"));
  EXPECT_THAT(Leases(), ElementsAre("10.89.0.9"));
  ExpectVeths(1);
  Detach(first, attachment);
}

TEST_P(RootPodNetworkTest, BadEndpointsAreRefusedAtPlan) {
  Create("front");
  auto plan = [&](std::vector<EndpointRequest> endpoints) {
    return network_->Plan(NewPod(std::move(endpoints))).code();
  };
  EXPECT_EQ(plan({{"nowhere", {}, "", ""}}), StatusCode::kNotFound);
  EXPECT_EQ(plan({{"front", {"10.1.0.9"}, "", ""}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(plan({{"front", {"x"}, "", ""}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(plan({{"front", {}, "01:00:00:00:00:00", ""}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(plan({{"front", {}, "", "lo"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(plan({{"front", {}, "", ""}, {"front", {}, "", ""}}), StatusCode::kAlreadyExists);
  EXPECT_EQ(plan({{"front", {}, "", "x"}, {"", {}, "", "x"}}), StatusCode::kInvalidArgument);
}

TEST_P(RootPodNetworkTest, ARecordWithoutResultsIsEnough) {
  NamedNetwork wanted;
  wanted.name = "shut";
  wanted.options["isolate"] = "true";
  ASSERT_TRUE(networks_->Create(wanted).ok());
  NetworkRequest pod = NewPod({{"shut", {}, "", ""}, {"", {}, "", ""}});
  pod.ports = {{Protocol::kTcp, 80, 18090, ""}};
  auto planned = network_->Plan(pod);
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  auto attached = network_->Attach(pod, *planned, TestDeadline());
  ASSERT_TRUE(attached.ok()) << attached.status().ToString();
  EXPECT_THAT(Output({"iptables-save"}), HasSubstr("-s " + attached->ips[0] + "/32 -j ACCEPT"));
  Open();  // davitd was killed before it wrote what it had made
  Detach(pod, *planned);
  ExpectNothingOf(pod);
  std::string rules = Output({"iptables-save"});
  EXPECT_THAT(rules, Not(HasSubstr(attached->ips[0])));
  EXPECT_THAT(rules, Not(HasSubstr("18090")));
  EXPECT_TRUE(networks_->Remove("shut").ok());
  EXPECT_THAT(Output({"iptables-save"}), Not(HasSubstr("davit1")));
}

TEST_P(RootPodNetworkTest, TheNetworksFileMayBeGone) {
  Create("front");
  NetworkRequest pod = NewPod({{"front", {}, "", ""}});
  Attachment attachment = Attach(pod);
  std::filesystem::remove(dir_.Join("networks/front.conflist"));
  Open();
  EXPECT_EQ(networks_->Find("front").code(), StatusCode::kNotFound);
  Detach(pod, attachment);
  ExpectNothingOf(pod);
  EXPECT_THAT(*LinkNames(), Not(Contains("davit1"))) << "the last pod of it takes the bridge along";
}

TEST_P(RootPodNetworkTest, ARunningPodGetsAFurtherNetworkAndLosesOne) {
  Create("front");
  Create("back");
  NetworkRequest pod = NewPod({{"front", {}, "", ""}});
  Attachment attachment = Attach(pod);
  auto planned = network_->PlanFurther(pod, {"back", {"10.89.1.5"}, "", ""}, attachment);
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  EXPECT_EQ(network_->PlanFurther(pod, {"front", {}, "", ""}, attachment).code(), StatusCode::kAlreadyExists);
  auto both = network_->AttachFurther(pod, *planned, TestDeadline());
  ASSERT_TRUE(both.ok()) << both.status().ToString();
  EXPECT_THAT(both->ips, ElementsAre(attachment.ips[0], "10.89.1.5"));
  EXPECT_THAT(Output({"ip", "-o", "address"}, pod.netns_path), HasSubstr("eth1    inet 10.89.1.5/24"));
  both->endpoints[0].leaving = true;
  auto rest = network_->DetachLeaving(pod, *both, TestDeadline());
  ASSERT_TRUE(rest.ok()) << rest.status().ToString();
  EXPECT_THAT(rest->ips, ElementsAre("10.89.1.5"));
  EXPECT_THAT(Output({"ip", "-o", "link"}, pod.netns_path), Not(HasSubstr("eth0")));
  EXPECT_THAT(Leases(), ElementsAre("10.89.1.5"));
  Detach(pod, *rest);
  ExpectNothingOf(pod);
}

TEST_P(RootPodNetworkTest, HostPortsAreOnePodsOnly) {
  NetworkRequest first = NewPod({{"", {}, "", ""}});
  first.ports = {{Protocol::kTcp, 80, 18091, ""}};
  Attachment attachment = Attach(first);
  NetworkRequest second = NewPod({{"", {}, "", ""}});
  second.ports = first.ports;
  auto refused = network_->Plan(second);
  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("18091/tcp"));
  Open();
  network_->Adopt(first.pod, attachment);
  EXPECT_EQ(network_->Plan(second).code(), StatusCode::kFailedPrecondition);
  Detach(first, attachment);
  auto free = network_->Plan(second);
  EXPECT_TRUE(free.ok()) << free.status().ToString();
  network_->Forget(second.pod);
  second.ports = {{Protocol::kTcp, 80, 0, "127.0.0.1"}, {Protocol::kUdp, 53, 0, ""}};
  EXPECT_THAT(network_->Plan(second)->ports, IsEmpty());
  second.random_ports = true;
  auto random = network_->Plan(second);
  ASSERT_TRUE(random.ok());
  ASSERT_THAT(random->ports, SizeIs(2));
  EXPECT_GT(random->ports[0].host_port, 0);
  EXPECT_GT(random->ports[1].host_port, 0);
}

TEST_P(RootPodNetworkTest, Ipv6AndInternal) {
  NamedNetwork wanted;
  wanted.name = "six";
  wanted.ipv6 = true;
  wanted.internal = true;
  auto made = networks_->Create(wanted);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ASSERT_THAT((*made)->subnets, SizeIs(2));
  EXPECT_THAT((*made)->subnets[1].subnet, StartsWith("fd"));
  NetworkRequest pod = NewPod({{"six", {}, "", ""}});
  pod.ports = {{Protocol::kTcp, 80, 18092, ""}};
  Attachment attachment = Attach(pod);
  ASSERT_THAT(attachment.ips, SizeIs(2));
  EXPECT_THAT(attachment.ports, IsEmpty());
  EXPECT_THAT(Output({"ip", "route"}, pod.netns_path), Not(HasSubstr("default")));
  Detach(pod, attachment);
  ExpectNothingOf(pod);
}

TEST_P(RootPodNetworkTest, ANodeThatForwardsNothingLetsPodsThrough) {
  Output({"iptables", "-P", "FORWARD", "DROP"});
  Create("front");
  NetworkRequest pod = NewPod({{"front", {}, "", ""}});
  Attachment attachment = Attach(pod);
  const std::string rule = "-s " + attachment.ips.at(0) + "/32 -j ACCEPT";
  EXPECT_THAT(Output({"iptables-save"}), HasSubstr(rule));
  Detach(pod, attachment);
  EXPECT_THAT(Output({"iptables-save"}), Not(HasSubstr(rule)));
}

TEST_P(RootPodNetworkTest, NetworksAreListedCreatedAndRemoved) {
  NetworkPtr first = Create("front");
  ASSERT_TRUE(first);
  EXPECT_EQ(first->subnets[0].subnet, "10.89.0.0/24");
  EXPECT_EQ(first->interface, "davit1");
  EXPECT_EQ(Create("back")->subnets[0].subnet, "10.89.1.0/24");
  NamedNetwork wanted;
  wanted.name = "front";
  EXPECT_EQ(networks_->Create(wanted).code(), StatusCode::kAlreadyExists);
  wanted.name = "host";
  EXPECT_EQ(networks_->Create(wanted).code(), StatusCode::kAlreadyExists);
  wanted.name = "a b";
  EXPECT_EQ(networks_->Create(wanted).code(), StatusCode::kInvalidArgument);
  wanted.name = "third";
  wanted.subnets = {{"10.89.1.128/25", "", "", ""}};
  EXPECT_EQ(networks_->Create(wanted).code(), StatusCode::kInvalidArgument) << "it overlaps";
  wanted.subnets = {{"10.88.4.0/24", "", "", ""}};
  EXPECT_EQ(networks_->Create(wanted).code(), StatusCode::kInvalidArgument) << "the default network's";
  wanted.subnets.clear();
  wanted.driver = "macvlan";
  EXPECT_EQ(networks_->Create(wanted).code(), StatusCode::kInvalidArgument);
  wanted.driver.clear();
  wanted.options["com.docker.network.bridge.name"] = "br-mine";
  auto named = networks_->Create(wanted);
  ASSERT_TRUE(named.ok()) << named.status().ToString();
  EXPECT_EQ((*named)->interface, "br-mine");
  wanted.name = "";
  EXPECT_EQ(networks_->Create(wanted).code(), StatusCode::kInvalidArgument) << "its bridge is another network's";
  wanted.options.clear();
  EXPECT_EQ((*networks_->Create(wanted))->name, "net1");
  Open();
  EXPECT_THAT(*networks_->List(), SizeIs(5));
  EXPECT_EQ((*networks_->Find(first->id.substr(0, 12)))->name, "front");
  EXPECT_TRUE(networks_->Remove(first->id).ok());
  EXPECT_EQ(networks_->Remove("front").code(), StatusCode::kNotFound);
  EXPECT_EQ(Create("again")->subnets[0].subnet, "10.89.0.0/24");
}

TEST_P(RootPodNetworkTest, AFileThatIsWrongCostsItself) {
  Create("front");
  dir_.Write("networks/bad.conflist", "{");
  dir_.Write("networks/other.conflist", dir_.Read("networks/front.conflist"));
  Open();
  EXPECT_THAT(*networks_->List(), SizeIs(2));
  EXPECT_TRUE(networks_->Find("front").ok());
}

INSTANTIATE_TEST_SUITE_P(Root, RootPodNetworkTest, ::testing::Bool(),
                         [](const auto& one) { return one.param ? "Builtin" : "Plugins"; });

}  // namespace
}  // namespace davit::network
