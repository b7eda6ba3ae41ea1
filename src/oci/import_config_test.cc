#include "oci/import_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::oci {
namespace {

Result<ImageConfig> Make(const std::vector<std::string>& changes) {
  ImportSettings settings;
  settings.changes = changes;
  settings.comment = "from a test";
  settings.created = "2026-01-02T03:04:05Z";
  settings.platform = {"arm64", "linux", "v8", ""};
  Result<std::string> text = MakeImportConfig(settings);
  if (!text.ok()) return text.status();
  Result<std::string> whole = WithLayer(*text, *Digest::ParseHex(DigestAlgorithm::kSha256, std::string(64, 'a')));
  if (!whole.ok()) return whole.status();
  return ParseImageConfig(*whole);
}

TEST(ImportConfigTest, EachInstructionHasItsPlace) {
  Result<ImageConfig> config =
      Make({"CMD [\"sleep\", \"1000\"]", "entrypoint exec /bin/app --now", "ENV A=1 B='two words' C=\"x\\\"y\"",
            "ENV A 3 is new", "EXPOSE 80 53/udp 8000-8002/tcp", "LABEL org.test=yes", "LABEL a b c", "ONBUILD RUN make",
            "STOPSIGNAL SIGQUIT", "USER 1000:1000", "VOLUME /data /more", "VOLUME [\"/with blank\"]", "WORKDIR /srv",
            "WORKDIR app"});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->cmd, (std::vector<std::string>{"sleep", "1000"}));
  EXPECT_EQ(config->entrypoint, (std::vector<std::string>{"/bin/sh", "-c", "exec /bin/app --now"}));
  EXPECT_EQ(config->env, (std::vector<std::string>{"B=two words", "C=x\"y", "A=3 is new"}));
  EXPECT_THAT(config->exposed_ports,
              testing::UnorderedElementsAre("80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"));
  EXPECT_EQ(config->labels.at("org.test"), "yes");
  EXPECT_EQ(config->labels.at("a"), "b c");
  EXPECT_EQ(config->on_build, std::vector<std::string>{"RUN make"});
  EXPECT_EQ(config->stop_signal, "SIGQUIT");
  EXPECT_EQ(config->user, "1000:1000");
  EXPECT_THAT(config->volumes, testing::UnorderedElementsAre("/data", "/more", "/with blank"));
  EXPECT_EQ(config->working_dir, "/srv/app");
  EXPECT_EQ(config->platform.architecture, "arm64");
  EXPECT_EQ(config->platform.variant, "v8");
  EXPECT_EQ(config->created, "2026-01-02T03:04:05Z");
  EXPECT_EQ(config->history.at(0).comment, "from a test");
  EXPECT_EQ(config->diff_ids.size(), 1U);
}

TEST(ImportConfigTest, WithoutChangesThereIsNothingToRun) {
  Result<ImageConfig> config = Make({});
  ASSERT_TRUE(config.ok());
  EXPECT_TRUE(config->cmd.empty() && config->entrypoint.empty() && config->env.empty());
}

TEST(ImportConfigTest, SlipsAreNamed) {
  for (const char* change :
       {"RUN make", "COPY a b", "", "CMD", "EXPOSE", "EXPOSE http", "EXPOSE 0", "EXPOSE 65536", "EXPOSE 90-80",
        "EXPOSE 80/icmp", "ENV A", "ENV A=1 B", "ENV =1", "ENV A='1", "VOLUME data", "USER a b", "STOPSIGNAL A B"}) {
    Result<ImageConfig> config = Make({change});
    EXPECT_EQ(config.code(), StatusCode::kInvalidArgument) << change;
    EXPECT_THAT(config.status().message(), testing::HasSubstr(std::string("change \"") + change)) << change;
  }
  EXPECT_EQ(Make({std::string("CMD a\0b", 7)}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Make({"EXPOSE 1-2000"}).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Make({"CMD " + std::string(kMaxConfigStringBytes, 'x')}).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Make(std::vector<std::string>(201, "USER a")).code(), StatusCode::kResourceExhausted);
  EXPECT_FALSE(WithLayer("[]", {}).ok());
  EXPECT_FALSE(WithLayer("{}", {}).ok());
}

}  // namespace
}  // namespace davit::oci
