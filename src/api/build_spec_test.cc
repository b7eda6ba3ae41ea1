#include "api/build_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::api {
namespace {

using testing::ElementsAre;

Result<BuildSpec> Read(std::vector<std::pair<std::string, std::string>> query) {
  Request request;
  request.head.query = std::move(query);
  return ReadBuild(request);
}

TEST(BuildSpecTest, ReadsDockersWayAndPodmans) {
  auto docker = Read({{"t", "a"},
                      {"t", "b:1"},
                      {"dockerfile", "dir/Dockerfile"},
                      {"buildargs", R"({"X":"2","N":null})"},
                      {"labels", R"({"L":"1"})"},
                      {"nocache", "1"}});
  ASSERT_TRUE(docker.ok());
  EXPECT_THAT(docker->tags, ElementsAre("a", "b:1"));
  EXPECT_THAT(docker->dockerfiles, ElementsAre("dir/Dockerfile"));
  EXPECT_EQ(docker->arguments.size(), 1u);
  EXPECT_TRUE(docker->no_cache);
  auto podman = Read({{"dockerfile", R"(["Containerfile"])"},
                      {"labels", R"(["L=1"])"},
                      {"platform", "/"},
                      {"secrets", R"(["id=s1,src=podman-build-secret1"])"}});
  ASSERT_TRUE(podman.ok());
  EXPECT_THAT(podman->dockerfiles, ElementsAre("Containerfile"));
  EXPECT_EQ(podman->labels.at("L"), "1");
  EXPECT_EQ(podman->platform, "");
  EXPECT_EQ(podman->secrets[0].file, "podman-build-secret1");
  EXPECT_THAT(Read({{"dockerfile", ""}, {"labels", ""}})->dockerfiles, ElementsAre("Dockerfile"));
}

TEST(BuildSpecTest, KeepsToTheContext) {
  EXPECT_EQ(Read({{"dockerfile", "../x"}}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Read({{"secrets", R"(["id=../s,src=x"])"}}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Read({{"secrets", R"(["id=s,src=../../etc/shadow"])"}}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Read({{"remote", "http://x"}}).code(), StatusCode::kUnimplemented);
  EXPECT_EQ(Read({{"buildargs", "{"}}).code(), StatusCode::kInvalidArgument);
}

TEST(ImagesOfTest, FindsWhatIsBuiltOn) {
  EXPECT_THAT(ImagesOf(R"(# syntax
ARG BASE=alpine
ARG TAG="3"
FROM --platform=linux/amd64 ${BASE}:$TAG AS one
RUN true
FROM scratch
COPY --from=one /a /b
COPY --from=docker.io/library/busybox:1 /bin/x /x
COPY --from=0 /a /c
FROM \
  localhost/other
FROM one
RUN --mount=type=bind,from=tools:2,target=/t true
)",
                       {{"TAG", "9"}}),
              ElementsAre("alpine:9", "docker.io/library/busybox:1", "localhost/other", "tools:2"));
  EXPECT_TRUE(ImagesOf("", {}).empty());
  EXPECT_THAT(ImagesOf("from ${X:-deb}", {}), ElementsAre("deb"));
}

TEST(TarFilterTest, KnowsPackedArchives) {
  EXPECT_EQ(TarFilter("\x1f\x8b\x08"), "--gzip");
  EXPECT_EQ(TarFilter("BZh9"), "--bzip2");
  EXPECT_EQ(TarFilter("\x28\xb5\x2f\xfd"), "--zstd");
  EXPECT_EQ(TarFilter("Dockerfile"), "");
}

}  // namespace
}  // namespace davit::api
