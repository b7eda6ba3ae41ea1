#include "network/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oci/json.h"

namespace davit::network {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kList[] = R"({
  "cniVersion": "1.0.0", "name": "podnet", "disableCheck": true,
  "plugins": [
    {"type": "bridge", "bridge": "br0", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}},
    {"type": "portmap", "capabilities": {"portMappings": true, "other": false}}
  ]})";

TEST(NetworkConfigTest, ReadsAList) {
  auto config = ParseNetworkConfig(kList);
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->name, "podnet");
  EXPECT_EQ(config->cni_version, "1.0.0");
  ASSERT_EQ(config->plugins.size(), 2u);
  EXPECT_EQ(config->plugins[0].type, "bridge");
  EXPECT_THAT(config->plugins[1].capabilities, ElementsAre("portMappings"));
  EXPECT_TRUE(config->Has("portMappings"));
  EXPECT_FALSE(config->Has("other"));
}

TEST(NetworkConfigTest, ReadsTheOldSinglePluginForm) {
  auto config = ParseNetworkConfig(R"({"cniVersion":"0.2.0","name":"mynet","type":"bridge","isGateway":true})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->name, "mynet");
  EXPECT_EQ(config->cni_version, "0.2.0");
  ASSERT_EQ(config->plugins.size(), 1u);
  auto input = PluginInput(*config, 0, {}, "");
  ASSERT_TRUE(input.ok());
  EXPECT_THAT(*input, HasSubstr("\"isGateway\":true"));
}

TEST(NetworkConfigTest, AMissingVersionIsTheOldest) {
  auto config = ParseNetworkConfig(R"({"name":"n","type":"bridge"})");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->cni_version, "0.1.0");
}

TEST(NetworkConfigTest, TakesTheLatestKnownOfManyVersions) {
  auto config = ParseNetworkConfig(
      R"({"cniVersion":"0.4.0","cniVersions":["1.0.0","0.3.1","9.9.9"],"name":"n","plugins":[{"type":"a"}]})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->cni_version, "1.0.0");
}

TEST(NetworkConfigTest, ALonelyLoopbackNeedsNoName) {
  EXPECT_TRUE(ParseNetworkConfig(R"({"cniVersion":"0.2.0","type":"loopback"})").ok());
}

TEST(NetworkConfigTest, RoundTripsThroughItsOwnText) {
  auto config = ParseNetworkConfig(kList);
  ASSERT_TRUE(config.ok());
  auto again = ParseNetworkConfig(config->ToJson());
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(again->ToJson(), config->ToJson());
}

TEST(NetworkConfigTest, RejectsWhatIsNoConfiguration) {
  struct Case {
    const char* text;
    const char* why;
  };
  const Case cases[] = {
      {"", ""},
      {"[]", "expected an object"},
      {"{}", "type"},
      {R"({"name":"n","plugins":[]})", "is empty"},
      {R"({"name":"n","plugins":{}})", "plugins"},
      {R"({"name":"n","plugins":["bridge"]})", "expected an object"},
      {R"({"name":"n","plugins":[{"bridge":"b"}]})", "type"},
      {R"({"name":"n","type":"../../../bin/sh"})", "is not the name of a plugin"},
      {R"({"name":"n","type":".."})", "is not the name of a plugin"},
      {R"({"name":"n","type":"a/b"})", "is not the name of a plugin"},
      {R"({"name":"n","type":""})", "is not the name of a plugin"},
      {R"({"name":"n","type":7})", "type"},
      {R"({"type":"bridge"})", "is not a network name"},
      {R"({"name":"../n","type":"bridge"})", "is not a network name"},
      {R"({"name":"-n","type":"bridge"})", "is not a network name"},
      {R"({"name":"a b","type":"bridge"})", "is not a network name"},
      {R"({"cniVersion":"2.0.0","name":"n","type":"bridge"})", "is not supported"},
      {R"({"cniVersion":1,"name":"n","type":"bridge"})", "cniVersion"},
      {R"({"name":"n","type":"bridge","capabilities":{"x":"yes"}})", "capabilities"},
  };
  for (const Case& c : cases) {
    auto config = ParseNetworkConfig(c.text);
    ASSERT_FALSE(config.ok()) << c.text;
    EXPECT_EQ(config.code(), StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(config.status().message(), HasSubstr(c.why)) << c.text;
  }
}

TEST(NetworkConfigTest, RejectsTooManyPluginsAndTooMuchText) {
  std::string many = R"({"name":"n","plugins":[{"type":"a"})";
  for (size_t i = 0; i < kMaxPlugins; ++i) many += R"(,{"type":"a"})";
  EXPECT_FALSE(ParseNetworkConfig(many + "]}").ok());
  std::string large = R"({"name":"n","type":"a","x":")" + std::string(kMaxConfigBytes, 'x') + "\"}";
  EXPECT_EQ(ParseNetworkConfig(large).code(), StatusCode::kResourceExhausted);
}

TEST(NetworkConfigTest, PluginInputHasWhatTheSpecificationAsksFor) {
  auto config = ParseNetworkConfig(kList);
  ASSERT_TRUE(config.ok());
  auto input = PluginInput(*config, 1, {{"portMappings", "[]"}, {"bandwidth", "{}"}}, R"({"cniVersion":"1.0.0"})");
  ASSERT_TRUE(input.ok()) << input.status().ToString();
  auto value = oci::ParseJson(*input);
  ASSERT_TRUE(value.ok());
  oci::JsonNode root(*value, "input");
  EXPECT_EQ(*root.Key("name").String(), "podnet");
  EXPECT_EQ(*root.Key("cniVersion").String(), "1.0.0");
  EXPECT_EQ(*root.Key("type").String(), "portmap");
  EXPECT_FALSE(root.Key("capabilities").present());
  EXPECT_THAT(*root.Key("runtimeConfig").Keys(), ElementsAre("portMappings"));
  EXPECT_EQ(*root.Key("prevResult").Key("cniVersion").String(), "1.0.0");
}

TEST(NetworkConfigTest, PluginInputLeavesOutWhatThereIsNot) {
  auto config = ParseNetworkConfig(kList);
  ASSERT_TRUE(config.ok());
  auto input = PluginInput(*config, 0, {{"portMappings", "[]"}}, "");
  ASSERT_TRUE(input.ok());
  EXPECT_THAT(*input, ::testing::Not(HasSubstr("runtimeConfig")));
  EXPECT_THAT(*input, ::testing::Not(HasSubstr("prevResult")));
}

TEST(NetworkConfigTest, ComparesVersions) {
  EXPECT_TRUE(VersionAtLeast("1.0.0", "0.4.0"));
  EXPECT_TRUE(VersionAtLeast("0.4.0", "0.4.0"));
  EXPECT_FALSE(VersionAtLeast("0.3.1", "0.4.0"));
  EXPECT_FALSE(VersionAtLeast("nonsense", "0.1.0"));
}

}  // namespace
}  // namespace davit::network
