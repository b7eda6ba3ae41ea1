#include "image/pull_messages.h"

#include <gtest/gtest.h>

namespace davit::image {
namespace {

TEST(PullMessagesTest, RoundTrip) {
  PullJob job;
  job.reference = "docker.io/library/a:latest";
  job.hosts["h:5000"].plain_http = true;
  job.hosts["h:5000"].mirrors = {"m1", "http://m2/x"};
  job.endpoints.emplace_back().credentials.password = "s\n\"";
  job.endpoints[0].tls.ca_files = {"/a", "/b"};
  job.limits.retries = 7;
  const std::string line = EncodeJob(job);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  Result<PullJob> back = DecodeJob(line);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->hosts["h:5000"].mirrors, job.hosts["h:5000"].mirrors);
  ASSERT_EQ(back->endpoints.size(), 1u);
  EXPECT_EQ(back->endpoints[0].credentials.password, "s\n\"");
  EXPECT_EQ(back->endpoints[0].tls.ca_files, job.endpoints[0].tls.ca_files);
  EXPECT_EQ(back->limits.retries, 7u);

  Result<PullCommand> command = DecodeCommand(EncodeCommand(FetchCommand{"sha256:x", "/p"}));
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(std::get<FetchCommand>(*command).path, "/p");
  ResolvedEvent resolved;
  resolved.manifest = "{\n \"a\": \"\\u00e9\" }";
  resolved.layers = {{"d", "b", 5}};
  Result<PullEvent> event = DecodeEvent(EncodeEvent(resolved));
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(std::get<ResolvedEvent>(*event).manifest, resolved.manifest);
  EXPECT_EQ(std::get<ResolvedEvent>(*event).layers[0].size, 5u);
}

TEST(PullMessagesTest, SifRoundTrip) {
  PullJob job;
  job.sif = {"library", "", "https://library.test", "a/b/c:1", "/d", {"sha256:x", "sha256:y"}};
  Result<PullJob> back = DecodeJob(EncodeJob(job));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->sif.kind, "library");
  EXPECT_EQ(back->sif.image, "a/b/c:1");
  EXPECT_EQ(back->sif.present, job.sif.present);
  Result<PullEvent> event = DecodeEvent(EncodeEvent(SifEvent{"sha256:z", false, 9, 4, 5, 3, "{}", {"/exec"}}));
  ASSERT_TRUE(event.ok()) << event.status().ToString();
  EXPECT_EQ(std::get<SifEvent>(*event).offset, 4u);
  EXPECT_EQ(std::get<SifEvent>(*event).command_prefix, std::vector<std::string>{"/exec"});
}

TEST(PullMessagesTest, ErrorsKeepTheirCode) {
  for (int code = 1; code <= 16; ++code) {
    Status status(static_cast<StatusCode>(code), "text \xff");
    Result<PullEvent> event = DecodeEvent(EncodeEvent(ErrorEventOf(status)));
    ASSERT_TRUE(event.ok());
    EXPECT_EQ(StatusOf(std::get<ErrorEvent>(*event)), status);
  }
}

TEST(PullMessagesTest, RefusesOtherVersionsAndGarbage) {
  EXPECT_EQ(DecodeJob(R"({"version":1})").code(), StatusCode::kUnimplemented);
  EXPECT_EQ(DecodeJob("{}").code(), StatusCode::kUnimplemented);
  EXPECT_FALSE(DecodeEvent("").ok());
  EXPECT_FALSE(DecodeEvent("[]").ok());
  EXPECT_FALSE(DecodeEvent(R"({"kind":1})").ok());
  EXPECT_FALSE(DecodeEvent(R"({"kind":"layer","size":"x"})").ok());
  EXPECT_EQ(DecodeEvent(R"({"kind":"later"})").code(), StatusCode::kUnimplemented);
  EXPECT_FALSE(DecodeEvent(std::string(100000, '[')).ok());
}

}  // namespace
}  // namespace davit::image
