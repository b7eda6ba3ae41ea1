#include "network/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::network {
namespace {

using ::testing::HasSubstr;

NetworkRequest Request() {
  NetworkRequest request;
  request.pod = PodId::Mint();
  request.name = "web-0";
  request.namespace_ = "default";
  request.uid = "u-1";
  return request;
}

TEST(CniArgsTest, NamesThePodAsOtherEnginesDo) {
  NetworkRequest request = Request();
  auto args = CniArgs(request);
  ASSERT_TRUE(args.ok());
  EXPECT_EQ(*args, "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=" +
                       request.pod.str() + ";K8S_POD_UID=u-1");
}

TEST(CniArgsTest, RefusesValuesThatForgeArguments) {
  for (const std::string& value : {std::string("a;K8S_POD_NAME=b"), std::string("a=b"), std::string("a\nb"),
                                   std::string("a\0b", 3), std::string(1025, 'a')}) {
    NetworkRequest request = Request();
    request.name = value;
    EXPECT_EQ(CniArgs(request).code(), StatusCode::kInvalidArgument);
  }
}

TEST(HostPortsTest, KeepsOnlyThoseWithAHostPort) {
  auto ports = HostPorts({{Protocol::kTcp, 80, 0, ""}, {Protocol::kTcp, 80, 8080, ""}});
  ASSERT_TRUE(ports.ok());
  ASSERT_EQ(ports->size(), 1u);
  EXPECT_EQ(ports->front().host_port, 8080);
}

TEST(HostPortsTest, OneHostPortMayServeTwoProtocolsOrAddresses) {
  EXPECT_TRUE(HostPorts({{Protocol::kTcp, 53, 53, ""}, {Protocol::kUdp, 53, 53, ""}}).ok());
  EXPECT_TRUE(HostPorts({{Protocol::kTcp, 53, 53, "10.0.0.1"}, {Protocol::kTcp, 53, 53, "10.0.0.2"}}).ok());
}

TEST(HostPortsTest, RefusesBadMappings) {
  const std::vector<PortMapping> bad[] = {
      {{Protocol::kTcp, 0, 80, ""}},
      {{Protocol::kTcp, 65536, 80, ""}},
      {{Protocol::kTcp, 80, -1, ""}},
      {{Protocol::kTcp, 80, 65536, ""}},
      {{Protocol::kTcp, 80, 80, std::string("10.0.0.1\0x", 10)}},
      {{Protocol::kTcp, 80, 80, "localhost"}},
      {{Protocol::kTcp, 80, 80, ""}, {Protocol::kTcp, 81, 80, "0.0.0.0"}},
      std::vector<PortMapping>(kMaxPorts + 1, PortMapping{Protocol::kTcp, 80, 0, ""}),
  };
  for (const auto& ports : bad) EXPECT_EQ(HostPorts(ports).code(), StatusCode::kInvalidArgument);
}

TEST(BandwidthTest, ReadsQuantities) {
  EXPECT_EQ(ParseBandwidth("10M"), 10000000u);
  EXPECT_EQ(ParseBandwidth("1Mi"), 1048576u);
  EXPECT_EQ(ParseBandwidth("1.5k"), 1500u);
  EXPECT_EQ(ParseBandwidth("2e3"), 2000u);
  EXPECT_EQ(ParseBandwidth(".5M"), 500000u);
  EXPECT_EQ(ParseBandwidth("1"), 1u);
  EXPECT_EQ(ParseBandwidth("1500m"), 2u);
}

TEST(BandwidthTest, RefusesOthers) {
  for (const char* text :
       {"", "M", "-1M", "1X", "1.2.3", ".", "0", "1e99", "1e", "2000P", "1 M", "99999999999999999999999999999999999"}) {
    EXPECT_EQ(ParseBandwidth(text), std::nullopt) << text;
  }
}

TEST(CapabilityArgsTest, AnyAddressMeansNoHostIp) {
  auto args = CapabilityArgs(Request(), {{Protocol::kUdp, 53, 5353, "0.0.0.0"}, {Protocol::kTcp, 80, 81, "127.0.0.1"}});
  ASSERT_TRUE(args.ok());
  EXPECT_EQ(args->at("portMappings"), R"([{"hostPort":5353,"containerPort":53,"protocol":"udp"},)"
                                      R"({"hostPort":81,"containerPort":80,"protocol":"tcp","hostIP":"127.0.0.1"}])");
}

TEST(CapabilityArgsTest, BandwidthComesFromTheAnnotations) {
  NetworkRequest request = Request();
  request.annotations = {{"kubernetes.io/egress-bandwidth", "1M"}};
  auto args = CapabilityArgs(request, {});
  ASSERT_TRUE(args.ok());
  EXPECT_EQ(args->at("bandwidth"), R"({"egressRate":1000000,"egressBurst":2147483647})");
  EXPECT_THAT(args->at("io.kubernetes.cri.pod-annotations"), HasSubstr("egress-bandwidth"));
  request.annotations["kubernetes.io/ingress-bandwidth"] = "fast";
  EXPECT_EQ(CapabilityArgs(request, {}).code(), StatusCode::kInvalidArgument);
}

TEST(CapabilityArgsTest, NothingAskedForIsNothingGiven) { EXPECT_TRUE(CapabilityArgs(Request(), {})->empty()); }

}  // namespace
}  // namespace davit::network
