#include "oci/commit_config.h"

#include <gtest/gtest.h>

#include "oci/image_spec.h"

namespace davit::oci {
namespace {

const char* const kParent = R"({"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z","id":"old",
  "config":{"Env":["PATH=/bin","A=1"],"Entrypoint":["/entry"],"Cmd":["serve"],"WorkingDir":"/srv","Labels":{"a":"1"}},
  "rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},
  "history":[{"created_by":"base"}]})";

CommitSettings Settings() {
  CommitSettings settings;
  settings.parent = kParent;
  settings.created = "2026-01-02T03:04:05Z";
  settings.diff_id = *Digest::Parse("sha256:" + std::string(64, 'b'));
  return settings;
}

ImageConfig Made(const CommitSettings& settings) {
  auto text = MakeCommitConfig(settings);
  EXPECT_TRUE(text.ok()) << text.status().ToString();
  return text.ok() ? *ParseImageConfig(*text) : ImageConfig();
}

using Strings = std::vector<std::string>;

TEST(CommitConfigTest, TheImagesConfigAndOneMoreLayer) {
  CommitSettings settings = Settings();
  settings.author = "me";
  settings.comment = "why";
  const ImageConfig config = Made(settings);
  EXPECT_EQ(config.entrypoint, Strings{"/entry"});
  EXPECT_EQ(config.cmd, Strings{"serve"});
  EXPECT_EQ(config.created, settings.created);
  EXPECT_EQ(config.author, "me");
  ASSERT_EQ(config.diff_ids.size(), 2U);
  EXPECT_EQ(config.diff_ids[1], settings.diff_id);
  ASSERT_EQ(config.history.size(), 2U);
  EXPECT_EQ(config.history[1].created_by, "serve");
  EXPECT_EQ(config.history[1].comment, "why");
  EXPECT_EQ(config.platform.architecture, "amd64");
}

TEST(CommitConfigTest, TheContainersWordsReplaceTheImagesAndTheRequestsAreSetOver) {
  CommitSettings settings = Settings();
  settings.container = R"({"Entrypoint":null,"Cmd":["sh"],"Env":["PATH=/bin","A=2"],"User":"7"})";
  settings.config = R"({"env":["A=3","B=4"],"Labels":{"b":"2"},"Hostname":"h","Cmd":null,"Volumes":{"/v":{}}})";
  settings.changes = {"ENV C=5", "EXPOSE 80"};
  const ImageConfig config = Made(settings);
  EXPECT_EQ(config.entrypoint, Strings{});
  EXPECT_EQ(config.cmd, Strings{"sh"});
  EXPECT_EQ(config.env, (Strings{"PATH=/bin", "A=3", "B=4", "C=5"}));
  EXPECT_EQ(config.labels, (std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(config.user, "7");
  EXPECT_EQ(config.volumes, Strings{"/v"});
  EXPECT_EQ(config.exposed_ports, Strings{"80/tcp"});
}

TEST(CommitConfigTest, AnotherEntrypointTakesTheCommandAway) {
  CommitSettings settings = Settings();
  settings.config = R"({"Entrypoint":["/other"]})";
  EXPECT_EQ(Made(settings).cmd, Strings{});
}

TEST(CommitConfigTest, WhatIsWrongIsNamed) {
  CommitSettings settings = Settings();
  settings.config = "[]";
  EXPECT_EQ(MakeCommitConfig(settings).code(), StatusCode::kInvalidArgument);
  settings.config = R"({"Env":"A"})";
  settings.changes = {"RUN x"};
  EXPECT_EQ(MakeCommitConfig(settings).code(), StatusCode::kInvalidArgument);
  settings.changes.clear();
  settings.config = R"({"Cmd":[7]})";
  EXPECT_EQ(MakeCommitConfig(settings).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace davit::oci
