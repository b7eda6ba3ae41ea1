#include "engine/registry_auth.h"

#include <gtest/gtest.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::engine {
namespace {

TEST(RegistryAuthTest, ReadsTheHostsEntryWhateverItsSpelling) {
  constexpr std::string_view kText =
      R"({"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnB3"},"r.example:5000":{"username":"u","password":"p"}}})";
  EXPECT_EQ(CredentialsFromDockerConfig(kText, "docker.io")->auth, "aHViOnB3");
  EXPECT_EQ(CredentialsFromDockerConfig(kText, "r.example:5000")->username, "u");
  EXPECT_TRUE(CredentialsFromDockerConfig(kText, "r.example")->empty());
  EXPECT_TRUE(CredentialsFromDockerConfig("{}", "r.example")->empty());
  EXPECT_EQ(CredentialsFromDockerConfig("[]", "r.example").code(), StatusCode::kInvalidArgument);
}

TEST(RegistryAuthTest, TheConfigurationsUserWinsOverItsFile) {
  sys::TempDir dir;
  ASSERT_TRUE(
      sys::WriteFileAtomic(dir.At("auth.json"), R"({"auths":{"h":{"auth":"Zjpm"}}})", 0600, sys::Durability::kAtomic)
          .ok());
  std::map<std::string, config::RegistryConfig> registries;
  registries["h"].auth_file = dir.At("auth.json");
  EXPECT_EQ(ConfiguredCredentials(registries, "h")->auth, "Zjpm");
  registries["h"].username = "me";
  EXPECT_EQ(ConfiguredCredentials(registries, "h")->username, "me");
  EXPECT_TRUE(ConfiguredCredentials(registries, "other")->empty());
}

TEST(RegistryAuthTest, AFileThatCannotBeReadIsNamed) {
  std::map<std::string, config::RegistryConfig> registries;
  registries["h"].auth_file = "/nonexistent/davit-auth.json";
  Result<image::Credentials> credentials = ConfiguredCredentials(registries, "h");
  EXPECT_FALSE(credentials.ok());
  EXPECT_NE(credentials.status().message().find("/nonexistent/davit-auth.json"), std::string::npos);
}

}  // namespace
}  // namespace davit::engine
