#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oci/image_spec.h"

namespace davit::oci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ImageConfigTest, ReadsAFullDocument) {
  auto config = ParseImageConfig(R"({
    "architecture":"arm64","os":"linux","variant":"v8","created":"2026-01-02T03:04:05Z","author":"a",
    "config":{"User":"1000:50","ExposedPorts":{"80/tcp":{},"53/udp":{}},"Env":["PATH=/bin","A="],
      "Entrypoint":["/entry"],"Cmd":["serve","-v"],"WorkingDir":"/srv","Volumes":{"/data":{}},
      "Labels":{"x":"y"},"StopSignal":"SIGQUIT","OnBuild":null,"Shell":["/bin/sh","-c"],
      "Healthcheck":{"Test":["CMD","true"],"Interval":1000000000,"Timeout":2,"StartPeriod":3,"Retries":4}},
    "rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},
    "history":[{"created":"c","created_by":"RUN x","empty_layer":true},{"comment":"k"}],
    "future":{"a":1}})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->platform, (Platform{"arm64", "linux", "v8", ""}));
  EXPECT_EQ(config->user, "1000:50");
  EXPECT_THAT(config->exposed_ports, ElementsAre("80/tcp", "53/udp"));
  EXPECT_THAT(config->env, ElementsAre("PATH=/bin", "A="));
  EXPECT_THAT(config->entrypoint, ElementsAre("/entry"));
  EXPECT_THAT(config->cmd, ElementsAre("serve", "-v"));
  EXPECT_EQ(config->working_dir, "/srv");
  EXPECT_THAT(config->volumes, ElementsAre("/data"));
  EXPECT_EQ(config->labels.at("x"), "y");
  EXPECT_EQ(config->stop_signal, "SIGQUIT");
  ASSERT_TRUE(config->healthcheck.has_value());
  EXPECT_EQ(config->healthcheck->interval_ns, 1000000000);
  EXPECT_EQ(config->healthcheck->retries, 4);
  ASSERT_EQ(config->diff_ids.size(), 1u);
  ASSERT_EQ(config->history.size(), 2u);
  EXPECT_TRUE(config->history[0].empty_layer);
}

TEST(ImageConfigTest, NullMeansAbsent) {
  auto config = ParseImageConfig(R"({"architecture":"amd64","os":"linux","config":{"User":"","ExposedPorts":null,
    "Env":null,"Entrypoint":null,"Cmd":null,"Volumes":null,"WorkingDir":"","Labels":null,"OnBuild":null,
    "Healthcheck":null,"StopSignal":null},"rootfs":{"type":"layers","diff_ids":null},"history":null})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_THAT(config->cmd, IsEmpty());
  EXPECT_FALSE(config->healthcheck.has_value());
  EXPECT_TRUE(ParseImageConfig(R"({"config":null})").ok());
  EXPECT_TRUE(ParseImageConfig("{}").ok());
}

TEST(ImageConfigTest, TakesACommandOfOneString) {
  auto config = ParseImageConfig(R"({"config":{"Entrypoint":"/bin/sh"}})");
  ASSERT_TRUE(config.ok());
  EXPECT_THAT(config->entrypoint, ElementsAre("/bin/sh"));
}

TEST(ImageConfigTest, RefusesNulBytes) {
  for (std::string_view text :
       {R"({"config":{"Env":["A=\u0000"]}})", R"({"config":{"Cmd":["a\u0000b"]}})", R"({"config":{"User":"0\u0000"}})",
        R"({"config":{"WorkingDir":"/\u0000"}})", R"({"config":{"Volumes":{"/\u0000":{}}}})"}) {
    auto config = ParseImageConfig(text);
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_THAT(config.status().message(), HasSubstr("NUL"));
  }
}

TEST(ImageConfigTest, RefusesWrongTypesWithThePath) {
  EXPECT_THAT(ParseImageConfig(R"({"config":{"Env":{"A":"b"}}})").status().message(),
              HasSubstr("image config.config.Env: expected an array, found an object"));
  EXPECT_FALSE(ParseImageConfig(R"({"rootfs":{"type":"layers","diff_ids":["sha256:XYZ"]}})").ok());
  EXPECT_FALSE(ParseImageConfig(R"({"rootfs":{"type":"tar"}})").ok());
  EXPECT_FALSE(ParseImageConfig(R"({"config":[]})").ok());
  EXPECT_FALSE(ParseImageConfig("[]").ok());
}

TEST(ImageConfigTest, CapsTextLength) {
  std::string text = R"({"config":{"Env":[")" + std::string(kMaxConfigStringBytes + 1, 'x') + R"("]}})";
  EXPECT_EQ(ParseImageConfig(text).code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace davit::oci
