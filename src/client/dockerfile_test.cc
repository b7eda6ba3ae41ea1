#include "client/dockerfile.h"

#include <gtest/gtest.h>

namespace davit::client {
namespace {

using Images = std::vector<std::string>;

TEST(DockerfileTest, FindsWhatItBuildsOnAndCopiesFrom) {
  EXPECT_EQ(ImagesOfDockerfile("# syntax=docker/dockerfile:1\n"
                               "FROM --platform=linux/amd64 golang:1.22 AS build\n"
                               "RUN --mount=type=bind,from=tools:1,target=/t go build \\\n"
                               "  # a comment between\n"
                               "  --from=no\n"
                               "from build as test\n"
                               "FROM scratch\n"
                               "COPY --from=build /a /a\n"
                               "COPY --from=0 /b /b\n"
                               "COPY --chown=1:1 --from=certs:2 /c /c\n"
                               "COPY --from=golang:1.22 /d /d\n",
                               {}),
            (Images{"golang:1.22", "tools:1", "certs:2"}));
}

TEST(DockerfileTest, PutsArgumentsIn) {
  const std::string text =
      "ARG BASE=alpine TAG=\"3\"\nARG NONE\nFROM ${BASE}:$TAG\nARG BASE=later\nFROM ${NONE:-busybox}\nFROM $BASE\n";
  EXPECT_EQ(ImagesOfDockerfile(text, {}), (Images{"alpine:3", "busybox", "alpine"}));
  EXPECT_EQ(ImagesOfDockerfile(text, {{"BASE", "debian"}, {"NONE", "x"}}), (Images{"debian:3", "x", "debian"}));
}

TEST(DockerfileTest, TakesWhatIsNoDockerfile) {
  for (const char* text :
       {"", "\n\n", "FROM", "FROM \\", "$", "FROM ${", "FROM ${A", "COPY --from=", "\\\n\\\n", "ARG ="}) {
    EXPECT_TRUE(ImagesOfDockerfile(text, {}).size() <= 1) << text;
  }
}

}  // namespace
}  // namespace davit::client
