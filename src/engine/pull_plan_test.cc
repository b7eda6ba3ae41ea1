#include "engine/pull_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::engine {
namespace {

using ::testing::ElementsAre;

class PullPlanTest : public ::testing::Test {
 protected:
  PullPlanTest() {
    config_.registries_conf = directory_.path() + "/registries.conf";
    config_.hosts_dirs = {};
    config_.auth_file = directory_.path() + "/auth.json";
    Write("auth.json", R"({"auths":{"r.example":{"username":"node"},"m.example/sub":{"username":"mirror"},
                          "docker.io":{"username":"hub"}}})");
    Write("registries.conf",
          "[[registry]]\nlocation='r.example'\n[[registry.mirror]]\nlocation='m.example/sub'\n"
          "[[registry.mirror]]\nlocation='m.example/other'\n"
          "[[registry]]\nprefix='moved.example'\nlocation='r.example/moved'\n");
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(sys::WriteFileAtomic(directory_.path() + "/" + name, text, 0644, sys::Durability::kAtomic).ok());
  }
  // "host user" of each endpoint.
  std::vector<std::string> Users(const std::string& name, const image::Credentials& request = {}) {
    Result<registries::Plan> plan =
        PlanPull(config_, *image::Reference::Parse(name), request, "", Deadline::After(std::chrono::seconds(60)));
    if (!plan.ok()) return {plan.status().message()};
    std::vector<std::string> out;
    for (const image::Endpoint& endpoint : plan->endpoints) {
      out.push_back(endpoint.Host() + " " + endpoint.credentials.username);
      EXPECT_EQ(endpoint.credentials.empty(), endpoint.credentials_source.empty());
    }
    return out;
  }
  static image::Credentials Request(const std::string& server) {
    image::Credentials out;
    out.username = "pod";
    out.server_address = server;
    return out;
  }

  sys::TempDir directory_;
  config::ImageConfig config_;
};

TEST_F(PullPlanTest, EachEndpointHasItsOwnCredentials) {
  EXPECT_THAT(Users("r.example/a"), ElementsAre("m.example mirror", "m.example ", "r.example node"));
  EXPECT_THAT(Users("moved.example/a"), ElementsAre("r.example node"));
  EXPECT_THAT(Users("busybox"), ElementsAre("registry-1.docker.io hub"));
  EXPECT_THAT(Users("other.example/a"), ElementsAre("other.example "));
}

TEST_F(PullPlanTest, ThoseOfTheRequestAreForItsRegistryAlone) {
  EXPECT_THAT(Users("r.example/a", Request("")), ElementsAre("m.example mirror", "m.example ", "r.example pod"));
  EXPECT_THAT(Users("r.example/a", Request("https://m.example")),
              ElementsAre("m.example pod", "m.example pod", "r.example node"));
  for (const char* same : {"R.Example", "https://r.example/v1/", "r.example:443", "https://R.EXAMPLE:443/v2/"}) {
    EXPECT_THAT(Users("r.example/a", Request(same)), ElementsAre("m.example mirror", "m.example ", "r.example pod"));
  }
  for (const char* hub : {"docker.io", "https://index.docker.io/v1/", "registry-1.docker.io", "https://Docker.io"}) {
    EXPECT_THAT(Users("busybox", Request(hub)), ElementsAre("registry-1.docker.io pod")) << hub;
  }
  for (const char* other : {"r.example:5000", "r.example.", "x.r.example", "r.example@x.example", "//r.example",
                            "r.example?", "https://x.example/r.example", "http://r.example:443", "r.example:80"}) {
    EXPECT_THAT(Users("r.example/a", Request(other)), ElementsAre("m.example mirror", "m.example ", "r.example node"))
        << other;
  }
  EXPECT_THAT(Users("r.example/a", Request("x.example")),
              ElementsAre("m.example mirror", "m.example ", "r.example node"));
  // Another host by the administrator's word, and none that the pod's secret is for.
  EXPECT_THAT(Users("moved.example/a", Request("")), ElementsAre("r.example node"));
}

// A helper is a program that may be slow or ask somebody: only for an endpoint that is really asked.
TEST_F(PullPlanTest, HelpersAreRunWhenTheirEndpointIsAsked) {
  const std::string path = std::getenv("PATH");
  ASSERT_EQ(::setenv("PATH", (directory_.path() + ":" + path).c_str(), 1), 0);
  Write("docker-credential-counting", "#!/bin/sh\nread server\necho $server >>" + directory_.path() +
                                          "/runs\necho '{\"Username\":\"'$server'\",\"Secret\":\"s\"}'\n");
  ASSERT_EQ(::chmod((directory_.path() + "/docker-credential-counting").c_str(), 0755), 0);
  Write("auth.json", R"({"auths":{"r.example":{"username":"node"}},"credHelpers":{"m.example":"counting"}})");
  const Deadline soon = Deadline::After(std::chrono::seconds(60));
  Result<registries::Plan> plan = PlanPull(config_, *image::Reference::Parse("r.example/a"), {}, "", soon);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  ASSERT_EQ(plan->endpoints.size(), 3u);
  EXPECT_TRUE(plan->endpoints[0].ask_credentials && plan->endpoints[1].ask_credentials);
  EXPECT_FALSE(plan->endpoints[2].ask_credentials);
  EXPECT_EQ(plan->endpoints[2].credentials.username, "node");
  const std::string runs = directory_.path() + "/runs";
  EXPECT_EQ(sys::ReadFile(runs, 4096).code(), StatusCode::kNotFound);
  Result<FoundCredentials> found = FindCredentials(config_, plan->endpoints[0], "", soon);
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->credentials.username, "m.example");
  EXPECT_THAT(found->source, ::testing::HasSubstr("docker-credential-counting"));
  EXPECT_EQ(sys::ReadFile(runs, 4096).value_or(""), "m.example\n");
  ::setenv("PATH", path.c_str(), 1);
}

TEST_F(PullPlanTest, CredentialsThatAreNoneAreRefusedWhoeverIsAsked) {
  image::Credentials bad;
  bad.auth = "no base64";
  config_.registries["r2.example"].mirrors = {"https://m.example"};
  config_.registries["r2.example"].fallback = false;
  EXPECT_THAT(Users("r2.example/a", bad), ElementsAre(::testing::HasSubstr("not base64")));
}

// A host without a dot is no namespace of Docker Hub, whose password is not for it.
TEST_F(PullPlanTest, AHostThatReadsLikeANamespaceGetsNobodysCredentials) {
  config_.registries["r2.example"].mirrors = {"https://cache"};
  EXPECT_THAT(Users("r2.example/a"), ElementsAre("cache ", "r2.example "));
}

}  // namespace
}  // namespace davit::engine
