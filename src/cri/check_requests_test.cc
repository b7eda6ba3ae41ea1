#include "cri/check_requests.h"

#include <gtest/gtest.h>

namespace davit::cri {
namespace {

std::string Text(const Status& status) {
  if (status.ok()) return "ok";
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.message();
  return status.message();
}

TEST(CheckRequestsTest, Utf8IsToldFromOtherBytes) {
  for (const char* good :
       {"", "plain", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  // Cut, overlong, a surrogate, above U+10FFFF, a lone continuation, no lead at all.
  for (const char* bad : {"\xc3", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80",
                          "\xff\xfe", "\xf5\x80\x80\x80",
                          "a\xc3"
                          "a"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

TEST(CheckRequestsTest, NamesThatWouldSplitAnotherToolsTextAreRefused) {
  for (const char* bad : {"a;b", "a=b", "a/b", "..", ".", "a\nb", "\x7f"}) {
    v1::PodSandboxConfig pod;
    pod.mutable_metadata()->set_namespace_(bad);
    EXPECT_NE(Text(CheckPodConfig(pod)).find("metadata.namespace"), std::string::npos) << bad;
    v1::ContainerConfig container;
    container.mutable_metadata()->set_name(bad);
    EXPECT_NE(Text(CheckContainerConfig(container)).find("metadata.name"), std::string::npos) << bad;
  }
  v1::PodSandboxConfig pod;
  pod.mutable_metadata()->set_name("my pod: the 1st_of-all.test");
  EXPECT_EQ(Text(CheckPodConfig(pod)), "ok");
}

TEST(CheckRequestsTest, PathsThatAreMaskedAreAbsoluteAndDoNotClimb) {
  for (const std::string& bad :
       {std::string("proc/x"), std::string(), std::string("/proc/../x"), std::string("/a\0b", 4)}) {
    v1::ContainerConfig config;
    auto* security = config.mutable_linux()->mutable_security_context();
    security->add_masked_paths("/proc/kcore");
    security->add_masked_paths(bad);
    EXPECT_NE(Text(CheckContainerConfig(config)).find("masked_paths[1]"), std::string::npos) << bad;
    security->mutable_masked_paths()->RemoveLast();
    security->add_readonly_paths(bad);
    EXPECT_NE(Text(CheckContainerConfig(config)).find("readonly_paths[0]"), std::string::npos) << bad;
  }
}

TEST(CheckRequestsTest, AnAddressThatIsNoneNamesItsMapping) {
  v1::PodSandboxConfig config;
  config.add_port_mappings()->set_host_ip("127.0.0.1");
  config.add_port_mappings()->set_host_ip("::1");
  EXPECT_EQ(Text(CheckPodConfig(config)), "ok");
  config.add_port_mappings()->set_host_ip("localhost");
  EXPECT_NE(Text(CheckPodConfig(config)).find("port_mappings[2].host_ip"), std::string::npos);
}

TEST(CheckRequestsTest, ATerminalHasNoStandardErrorAndNobodyAsksForNothing) {
  EXPECT_EQ(Text(CheckStreams(true, true, true, false)), "ok");
  EXPECT_EQ(Text(CheckStreams(false, false, false, true)), "ok");
  EXPECT_NE(Text(CheckStreams(true, true, true, true)).find("stderr"), std::string::npos);
  EXPECT_NE(Text(CheckStreams(false, false, false, false)).find("stdin"), std::string::npos);
}

TEST(CheckRequestsTest, FiltersKnowTheStates) {
  v1::ContainerFilter filter;
  EXPECT_EQ(Text(CheckFilter(filter)), "ok");
  filter.mutable_state()->set_state(static_cast<v1::ContainerState>(17));
  EXPECT_NE(Text(CheckFilter(filter)).find("filter.state"), std::string::npos);
}

}  // namespace
}  // namespace davit::cri
