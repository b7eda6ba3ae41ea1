#include "registries/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::registries {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PlanTest : public ::testing::Test {
 protected:
  void Conf(const std::string& text) {
    ASSERT_TRUE(sys::WriteFileAtomic(files_.registries_conf, text, 0644, sys::Durability::kAtomic).ok());
  }
  void Hosts(const std::string& name, const std::string& text) {
    const std::string directory = files_.hosts_dirs[0] + "/" + name;
    ::mkdir(files_.hosts_dirs[0].c_str(), 0755);
    ::mkdir(directory.c_str(), 0755);
    ASSERT_TRUE(sys::WriteFileAtomic(directory + "/hosts.toml", text, 0644, sys::Durability::kAtomic).ok());
  }
  Result<Plan> Make(const std::string& name) { return MakePlan(files_, own_, *image::Reference::Parse(name)); }
  // "base repository" of each endpoint.
  std::vector<std::string> Order(const std::string& name) {
    Result<Plan> plan = Make(name);
    if (!plan.ok()) return {plan.status().message()};
    std::vector<std::string> out;
    for (const image::Endpoint& endpoint : plan->endpoints) out.push_back(endpoint.base + " " + endpoint.repository);
    return out;
  }
  static std::string Digest() { return "@sha256:" + std::string(64, 'a'); }

  sys::TempDir directory_;
  Files files_{directory_.path() + "/registries.conf", {directory_.path() + "/certs.d"}};
  image::HostMap own_;
};

TEST_F(PlanTest, WithoutFilesTheRegistryItself) {
  EXPECT_THAT(Order("busybox"), ElementsAre("https://registry-1.docker.io/v2 library/busybox"));
  EXPECT_THAT(Order("r.example:5000/a/b:1"), ElementsAre("https://r.example:5000/v2 a/b"));
  EXPECT_TRUE(Make("localhost:5000/a")->endpoints[0].maybe_plain);
  EXPECT_FALSE(Make("r.example/a")->endpoints[0].maybe_plain);
  EXPECT_EQ(Make("r.example/a")->endpoints[0].configured_by, "");
}

TEST_F(PlanTest, WhoSpeaksOfTheRegistryFirstDecidesAlone) {
  Hosts("_default", "[host.'https://default.example']");
  EXPECT_THAT(Order("r.example/a"), ElementsAre("https://default.example/v2 a", "https://r.example/v2 a"));
  Conf("[[registry]]\nlocation='r.example'\n[[registry.mirror]]\nlocation='conf.example/m'\n");
  EXPECT_THAT(Order("r.example/a"), ElementsAre("https://conf.example/v2 m/a", "https://r.example/v2 a"));
  EXPECT_THAT(Order("other.example/a"), ElementsAre("https://default.example/v2 a", "https://other.example/v2 a"));
  Hosts("r.example", "[host.'https://hosts.example']");
  EXPECT_THAT(Order("r.example/a"), ElementsAre("https://hosts.example/v2 a", "https://r.example/v2 a"));
  own_["r.example"];  // for its credentials only
  EXPECT_THAT(Order("r.example/a"), ElementsAre("https://hosts.example/v2 a", "https://r.example/v2 a"));
  own_["r.example"].mirrors = {"https://toml.example"};
  EXPECT_THAT(Order("r.example/a"), ElementsAre("https://toml.example/v2 a", "https://r.example/v2 a"));
}

TEST_F(PlanTest, ABlockedRegistryIsBlockedWhoeverSpeaksOfIt) {
  Conf("\n[[registry]]\nprefix='r.example/bad'\nlocation='r.example/bad'\nblocked=true\n");
  own_["r.example"].mirrors = {"https://toml.example"};
  Result<Plan> plan = Make("r.example/bad/a");
  EXPECT_EQ(plan.code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(plan.status().message(),
              HasSubstr("registry r.example/bad is blocked by " + files_.registries_conf + ":2"));
  EXPECT_TRUE(Make("r.example/good/a").ok());
}

TEST_F(PlanTest, LocationsMayWriteDockerHubAsPeopleDo) {
  Conf(
      "[[registry]]\nprefix='r.example'\nlocation='docker.io'\n"
      "[[registry]]\nprefix='s.example'\nlocation='index.docker.io/team'\n"
      "[[registry]]\nprefix='t.example/a:1'\nlocation='u.example/b:1'\n"
      "[[registry]]\nprefix='t.example/a:2'\nlocation='u.example/b:3'\n"
      "[[registry]]\nprefix='v.example'\nlocation='mirror/x'\n");
  EXPECT_THAT(Order("r.example/app"), ElementsAre("https://registry-1.docker.io/v2 library/app"));
  EXPECT_THAT(Order("s.example/app"), ElementsAre("https://registry-1.docker.io/v2 team/app"));
  EXPECT_THAT(Order("t.example/a:1"), ElementsAre("https://u.example/v2 b"));
  EXPECT_THAT(Order("t.example/a:2"), ElementsAre(HasSubstr("no host[:port]/repository"))) << "another tag";
  EXPECT_THAT(Order("v.example/a"), ElementsAre(HasSubstr("no host[:port]/repository")));
}

TEST_F(PlanTest, ABlockedRegistryIsNotReachedByAnotherSpelling) {
  Conf("[[registry]]\nlocation='r.example'\nblocked=true\n[[registry]]\nlocation='s.example/a:bad'\nblocked=true\n");
  for (const char* name : {"R.example/a", "r.example:443/a", "s.example/a:bad", "S.example:443/a:bad"}) {
    EXPECT_EQ(Make(name).code(), StatusCode::kPermissionDenied) << name;
  }
  EXPECT_TRUE(Make("s.example/a:good").ok());
}

TEST_F(PlanTest, WhatIsNoFileOfARegistry) {
  ::mkdir(files_.hosts_dirs[0].c_str(), 0755);
  ASSERT_TRUE(sys::WriteFileAtomic(files_.hosts_dirs[0] + "/r.example", "a note", 0644, sys::Durability::kAtomic).ok());
  EXPECT_THAT(Order("r.example/a"), ElementsAre("https://r.example/v2 a"));
  ASSERT_EQ(::mkdir((files_.hosts_dirs[0] + "/s.example").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((files_.hosts_dirs[0] + "/s.example/hosts.toml").c_str(), 0755), 0);
  EXPECT_EQ(Make("s.example/a").code(), StatusCode::kFailedPrecondition);
  ASSERT_EQ(::mkdir((files_.hosts_dirs[0] + "/t.example").c_str(), 0755), 0);
  ASSERT_EQ(::mkfifo((files_.hosts_dirs[0] + "/t.example/hosts.toml").c_str(), 0600), 0);
  EXPECT_EQ(Make("t.example/a").code(), StatusCode::kFailedPrecondition) << "nobody writes into it";
  ASSERT_EQ(::mkdir(files_.registries_conf.c_str(), 0755), 0);
  EXPECT_EQ(Make("r.example/a").code(), StatusCode::kFailedPrecondition);
}

TEST_F(PlanTest, MirrorsOfDigestsAndOfTags) {
  Conf(
      "[[registry]]\nlocation='r.example'\n"
      "[[registry.mirror]]\nlocation='digests.example'\npull-from-mirror='digest-only'\n"
      "[[registry.mirror]]\nlocation='tags.example'\npull-from-mirror='tag-only'\n");
  EXPECT_THAT(Order("r.example/a:1"), ElementsAre("https://tags.example/v2 a", "https://r.example/v2 a"));
  EXPECT_THAT(Make("r.example/a:1")->notes, ElementsAre(HasSubstr("digests.example is not asked")));
  EXPECT_THAT(Order("r.example/a" + Digest()), ElementsAre("https://digests.example/v2 a", "https://r.example/v2 a"));
  EXPECT_THAT(Order("r.example/a:1" + Digest()), ElementsAre("https://digests.example/v2 a", "https://r.example/v2 a"));
}

TEST_F(PlanTest, ARewrittenRegistryIsAnotherOne) {
  Conf(
      "[[registry]]\nprefix='docker.io/library'\nlocation='r.example:5000/hub'\ninsecure=true\n"
      "[[registry]]\nprefix='docker.io'\nlocation='docker.io'\n"
      "[[registry]]\nprefix='bad.example'\nlocation='Not A Host'\n");
  Result<Plan> plan = Make("busybox");
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  ASSERT_EQ(plan->endpoints.size(), 1u);
  EXPECT_EQ(plan->endpoints[0].base, "https://r.example:5000/v2");
  EXPECT_EQ(plan->endpoints[0].repository, "hub/busybox");
  EXPECT_TRUE(plan->endpoints[0].mirror && plan->endpoints[0].tls.skip_verify && plan->endpoints[0].maybe_plain);
  EXPECT_THAT(Order("bitnami/x"), ElementsAre("https://registry-1.docker.io/v2 bitnami/x"));
  EXPECT_FALSE(Make("bitnami/x")->endpoints[0].mirror);
  EXPECT_EQ(Make("bad.example/x").code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Make("bad.example/x").status().message(), HasSubstr("no host[:port]/repository"));
}

TEST_F(PlanTest, FilesThatAreWrongAreNoFaultOfTheClient) {
  Conf("[[registry]]\n");
  EXPECT_EQ(Make("r.example/a").code(), StatusCode::kFailedPrecondition);
  Conf("");
  Hosts("r.example", "server = 3");
  EXPECT_EQ(Make("r.example/a").code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Make("other.example/a").ok());
}

}  // namespace
}  // namespace davit::registries
