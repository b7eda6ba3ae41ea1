#include "cli/config_file.h"

#include <gtest/gtest.h>

#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace cri = ::runtime::v1;

TEST(ConfigFileTest, TakesSnakeCaseAndCamelCase) {
  auto pod = ParsePodConfig(R"({"metadata": {"name": "a", "uid": "u"}, "log_directory": "/l", "portMappings": [
      {"protocol": 1, "container_port": 53}, {"protocol": "SCTP"}],
      "linux": {"security_context": {"namespace_options": {"network": 2, "pid": "CONTAINER"}}}})",
                            "pod.json");
  ASSERT_TRUE(pod.ok()) << pod.status().ToString();
  EXPECT_EQ(pod->log_directory(), "/l");
  EXPECT_EQ(pod->port_mappings(0).protocol(), cri::UDP);
  EXPECT_EQ(pod->port_mappings(1).protocol(), cri::SCTP);
  EXPECT_EQ(pod->linux().security_context().namespace_options().network(), cri::NODE);
  EXPECT_EQ(pod->linux().security_context().namespace_options().pid(), cri::CONTAINER);
}

TEST(ConfigFileTest, TakesEnvironmentValuesAsText) {
  auto container = ParseContainerConfig(
      R"({"metadata": {"name": "a"}, "envs": [{"key": "A", "value": "plain = text ü"}, {"key": "B"}]})", "c.json");
  ASSERT_TRUE(container.ok()) << container.status().ToString();
  EXPECT_EQ(container->envs(0).value(), "plain = text ü");
  EXPECT_EQ(container->envs(1).value(), "");
}

TEST(ConfigFileTest, NamesUnknownFields) {
  EXPECT_EQ(ParsePodConfig(R"({"metadata": {}, "hostnam": "x"})", "p.json").status().message(),
            "p.json: unknown field \"hostnam\" (did you mean \"hostname\"?)");
  auto nested = ParsePodConfig(R"({"metadata": {"nam": "x"}})", "p.json").status();
  EXPECT_EQ(nested.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(nested.message(), "p.json: unknown field \"nam\" in metadata");
}

TEST(ConfigFileTest, NamesTheLineOfBrokenJson) {
  auto broken = ParsePodConfig("{\"metadata\": {},\n \"hostname\": }", "p.json").status();
  EXPECT_EQ(broken.code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(broken.message().starts_with("p.json line 2: not valid JSON")) << broken.message();
  EXPECT_FALSE(ParsePodConfig("{\"metadata\": {}} trailing", "p.json").ok());
  EXPECT_FALSE(ParsePodConfig("{\"metadata\": {", "p.json").ok());
  EXPECT_FALSE(ParsePodConfig("[]", "p.json").ok());
  EXPECT_FALSE(ParsePodConfig("", "p.json").ok());
}

TEST(ConfigFileTest, RefusesWrongTypesAndMissingMetadata) {
  auto wrong = ParsePodConfig(R"({"metadata": {"attempt": "many"}})", "p.json").status();
  EXPECT_EQ(wrong.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(wrong.message().find("attempt"), std::string::npos) << wrong.message();
  EXPECT_FALSE(ParsePodConfig("{}", "p.json").ok());
  EXPECT_FALSE(ParseContainerConfig("{}", "c.json").ok());
}

TEST(ConfigFileTest, CapsDepthAndSize) {
  std::string deep = R"({"metadata": )";
  for (int i = 0; i < 100; ++i) deep += "[";
  EXPECT_FALSE(ParsePodConfig(deep, "p.json").ok());
  EXPECT_EQ(ParsePodConfig(std::string(kMaxConfigFileBytes + 1, ' '), "p.json").code(), StatusCode::kResourceExhausted);
}

TEST(ConfigFileTest, NamesTheFileThatIsNotThere) {
  auto missing = LoadPodConfig("/nonexistent/pod.json").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.message().find("/nonexistent/pod.json"), std::string::npos);
}

}  // namespace
}  // namespace davit::cli
