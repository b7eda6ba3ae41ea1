#include "engine/registry_auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::engine {
namespace {

using ::testing::HasSubstr;

Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

Result<FoundCredentials> Find(std::string_view text, const std::string& image) {
  Result<image::Reference> reference = image::Reference::Parse(image);
  if (!reference.ok()) return reference.status();
  return CredentialsFromDockerConfig(text, *reference, "auth.json", Soon());
}

std::string UserFor(std::string_view text, const std::string& image) {
  Result<FoundCredentials> found = Find(text, image);
  return found.ok() ? found->credentials.username : found.status().message();
}

TEST(RegistryAuthTest, ReadsTheHostsEntryWhateverItsSpelling) {
  for (const char* key : {"https://index.docker.io/v1/", "index.docker.io/v1/", "docker.io", "index.docker.io",
                          "https://registry-1.docker.io/v2/", "http://docker.io/"}) {
    EXPECT_EQ(UserFor(std::string(R"({"auths":{")") + key + R"(":{"username":"u"}}})", "busybox"), "u") << key;
  }
  for (const char* key :
       {"r.example:5000", "https://r.example:5000", "https://R.example:5000/v2/", "r.example:5000/"}) {
    EXPECT_EQ(UserFor(std::string(R"({"auths":{")") + key + R"(":{"username":"u"}}})", "r.example:5000/a"), "u") << key;
  }
  constexpr std::string_view kText = R"({"auths":{"r.example:5000":{"username":"u"}}})";
  EXPECT_EQ(UserFor(kText, "r.example/a"), "");
  EXPECT_EQ(UserFor(kText, "r.example:50001/a"), "");
  EXPECT_EQ(UserFor("{}", "r.example/a"), "");
  EXPECT_EQ(Find("[]", "r.example/a").status().code(), StatusCode::kInvalidArgument);
}

// A secret of one namespace is not for another on the same registry.
TEST(RegistryAuthTest, AnEntryOfANamespaceServesThatNamespaceOnly) {
  constexpr std::string_view kText =
      R"({"auths":{"reg/private":{"username":"p"},"reg/private/deep/app":{"username":"deep"},"reg/v1":{"username":"v"}}})";
  EXPECT_EQ(UserFor(kText, "reg.example/private/app"), "");
  constexpr std::string_view kOnly =
      R"({"auths":{"reg.x/private":{"username":"p"},"reg.x/private/deep/app":{"username":"deep"}}})";
  EXPECT_EQ(UserFor(kOnly, "reg.x/private/app"), "p");
  EXPECT_EQ(UserFor(kOnly, "reg.x/private"), "p");
  EXPECT_EQ(UserFor(kOnly, "reg.x/private/deep/app"), "deep");
  EXPECT_EQ(UserFor(kOnly, "reg.x/private/deep/app/more"), "deep");
  EXPECT_EQ(UserFor(kOnly, "reg.x/private/deep/application"), "p");
  EXPECT_EQ(UserFor(kOnly, "reg.x/other"), "");
  EXPECT_EQ(UserFor(kOnly, "reg.x/private2/app"), "");
  // Without a scheme "v1" is a namespace like any other.
  EXPECT_EQ(UserFor(R"({"auths":{"reg.x/v1":{"username":"v"}}})", "reg.x/app"), "");
}

TEST(RegistryAuthTest, TheLongestNameWinsInAnyOrder) {
  constexpr std::string_view kText =
      R"({"auths":{"reg.x/a/b":{"username":"ab"},"reg.x":{"username":"all"},"reg.x/a":{"username":"a"}}})";
  EXPECT_EQ(UserFor(kText, "reg.x/a/b:1"), "ab");
  EXPECT_EQ(UserFor(kText, "reg.x/a/c"), "a");
  EXPECT_EQ(UserFor(kText, "reg.x/c"), "all");
  EXPECT_EQ(Find(kText, "reg.x/a/c")->source, "auth.json: reg.x/a");
}

class CredentialHelperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* path = std::getenv("PATH")) path_ = path;
    ::setenv("PATH", (dir_.path() + ":" + path_).c_str(), 1);
  }
  void TearDown() override { ::setenv("PATH", path_.c_str(), 1); }

  // A helper that runs `script` with the server in $server.
  void Helper(const std::string& name, const std::string& script) {
    ASSERT_TRUE(sys::WriteFileAtomic(dir_.At("docker-credential-" + name),
                                     "#!/bin/sh\n[ \"$1\" = get ] || exit 9\nserver=$(cat)\n" + script + "\n", 0755,
                                     sys::Durability::kAtomic)
                    .ok());
  }

  sys::TempDir dir_;
  std::string path_;
};

TEST_F(CredentialHelperTest, TheRegistrysOwnHelperGoesBeforeEntriesAndTheStoreAfter) {
  Helper("own", R"(echo "{\"ServerURL\":\"$server\",\"Username\":\"own-$server\",\"Secret\":\"s\"}")");
  Helper("all", R"(echo "{\"Username\":\"<token>\",\"Secret\":\"refresh-$server\"}")");
  constexpr std::string_view kText =
      R"({"credHelpers":{"reg.x":"own"},"credsStore":"all",
          "auths":{"reg.x":{"username":"file"},"reg.y":{"username":"y"},"reg.z":{},"https://index.docker.io/v1/":{}}})";
  EXPECT_EQ(UserFor(kText, "reg.x/a"), "own-reg.x");
  EXPECT_EQ(UserFor(kText, "reg.y/a"), "y");
  EXPECT_EQ(Find(kText, "reg.z/a")->credentials.identity_token, "refresh-reg.z");
  EXPECT_EQ(Find(kText, "busybox")->credentials.identity_token, "refresh-https://index.docker.io/v1/");
  EXPECT_EQ(Find(kText, "reg.x/a")->source, "auth.json: docker-credential-own");
}

TEST_F(CredentialHelperTest, NothingFoundIsNoErrorAndAFailureIs) {
  Helper("none", "echo credentials not found in native keychain; exit 1");
  Helper("broken", "echo the vault is sealed; exit 1");
  Helper("noise", "echo s3cret");
  EXPECT_TRUE(Find(R"({"credsStore":"none"})", "reg.x/a")->credentials.empty());
  EXPECT_EQ(UserFor(R"({"credHelpers":{"reg.x":"none"},"auths":{"reg.x":{"username":"file"}}})", "reg.x/a"), "file");
  Status status = Find(R"({"credsStore":"broken"})", "reg.x/a").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("auth.json: docker-credential-broken get, for reg.x: the vault is sealed"));
  status = Find(R"({"credsStore":"noise"})", "reg.x/a").status();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.message().find("s3cret"), std::string::npos);
  EXPECT_EQ(Find(R"({"credsStore":"../../bin/sh"})", "reg.x/a").status().code(), StatusCode::kInvalidArgument);
  status = Find(R"({"credsStore":"not-installed"})", "reg.x/a").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("docker-credential-not-installed"));
}

class ConfiguredCredentialsTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& user) {
    ASSERT_TRUE(sys::WriteFileAtomic(dir_.At(name), R"({"auths":{"h.x":{"username":")" + user + R"("}}})", 0600,
                                     sys::Durability::kAtomic)
                    .ok());
  }
  Result<FoundCredentials> Of(const std::string& pod_namespace = "") {
    return ConfiguredCredentials(config_, *image::Reference::Parse("h.x/app"), pod_namespace, Soon());
  }
  sys::TempDir dir_;
  config::ImageConfig config_;
};

TEST_F(ConfiguredCredentialsTest, TheNarrowerGoesBeforeTheWider) {
  EXPECT_TRUE(Of()->credentials.empty());
  Write("all.json", "all");
  config_.auth_file = dir_.At("all.json");
  EXPECT_EQ(Of()->credentials.username, "all");
  Write("registry.json", "registry");
  config_.registries["h.x"].auth_file = dir_.At("registry.json");
  EXPECT_EQ(Of()->credentials.username, "registry");
  config_.registries["h.x"].username = "me";
  EXPECT_EQ(Of()->credentials.username, "me");
  EXPECT_EQ(Of()->source, "davit.toml: image.registries.\"h.x\"");
  Write("team.json", "team");
  config_.auth_dir = dir_.path();
  EXPECT_EQ(Of("team")->credentials.username, "team");
  EXPECT_EQ(Of("others")->credentials.username, "me");
  EXPECT_EQ(Of("")->credentials.username, "me");
  EXPECT_EQ(Of("../team").status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ConfiguredCredentialsTest, AFileWithoutTheRegistryLeavesItToTheNext) {
  Write("all.json", "all");
  config_.auth_file = dir_.At("all.json");
  ASSERT_TRUE(sys::WriteFileAtomic(dir_.At("empty.json"), "{}", 0600, sys::Durability::kAtomic).ok());
  config_.registries["h.x"].auth_file = dir_.At("empty.json");
  EXPECT_EQ(Of()->credentials.username, "all");
}

TEST_F(ConfiguredCredentialsTest, AFileThatCannotBeReadIsNamed) {
  config_.registries["h.x"].auth_file = "/nonexistent/davit-auth.json";
  EXPECT_THAT(Of().status().message(), HasSubstr("/nonexistent/davit-auth.json"));
}

}  // namespace
}  // namespace davit::engine
