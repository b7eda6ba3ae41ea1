#include "registries/hosts_toml.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::registries {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<std::vector<image::Endpoint>> Parse(std::string_view text, const std::string& name = "docker.io/library/a:1") {
  return ParseHostsToml(text, "/etc/x/docker.io/hosts.toml", *image::Reference::Parse(name), {});
}
std::vector<std::string> Bases(const Result<std::vector<image::Endpoint>>& endpoints) {
  std::vector<std::string> out;
  if (!endpoints.ok()) return {endpoints.status().message()};
  for (const image::Endpoint& endpoint : *endpoints) out.push_back(endpoint.base);
  return out;
}
std::string Error(std::string_view text) {
  Result<std::vector<image::Endpoint>> endpoints = Parse(text);
  EXPECT_EQ(endpoints.code(), StatusCode::kInvalidArgument) << text;
  return endpoints.status().message();
}

TEST(HostsTomlTest, HostsInTheOrderOfTheFileThenTheServer) {
  EXPECT_THAT(Bases(Parse(R"(
server = "https://registry-1.docker.io"
[host."https://z.example"]
[host."http://127.0.0.1:5000/proxy"]
[host."a.example:8443/v2/"]
)")),
              ElementsAre("https://z.example/v2", "http://127.0.0.1:5000/proxy/v2", "https://a.example:8443/v2",
                          "https://registry-1.docker.io/v2"));
  EXPECT_THAT(Bases(Parse("")), ElementsAre("https://registry-1.docker.io/v2")) << "the registry itself";
  EXPECT_THAT(Bases(Parse("[host.'https://harbor.example/v2/cache']\noverride_path = true\n")),
              ElementsAre("https://harbor.example/v2/cache", "https://registry-1.docker.io/v2"));
  EXPECT_THAT(Bases(Parse("host = {'https://z.example' = {}, 'https://a.example' = {}}\n")),
              ElementsAre("https://z.example/v2", "https://a.example/v2", "https://registry-1.docker.io/v2"))
      << "in one line too";
  EXPECT_THAT(Bases(Parse("server = 'https://only.example'\noverride_path = true\n")),
              ElementsAre("https://only.example"));
}

TEST(HostsTomlTest, WhatEachHostMayBeAskedAndHow) {
  Result<std::vector<image::Endpoint>> endpoints = Parse(R"(
skip_verify = true
[host."https://pull.example"]
  capabilities = ["pull"]
  ca = ["ca.pem", "/abs/ca.pem"]
  client = [["client.cert", "client.key"], ["other.cert", "other.key"]]
  dial_timeout = "1m30s"
[host."https://pull.example".header]
  x-one = "1"
  X-Two = ["a", "b"]
[host."https://push.example"]
  capabilities = ["push"]
  client = "both.pem"
[host."https://all.example"]
  capabilities = ["pull", "resolve"]
)");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status().ToString();
  ASSERT_EQ(endpoints->size(), 4u);
  const image::Endpoint& pull = (*endpoints)[0];
  EXPECT_TRUE(pull.content && !pull.tags && pull.mirror);
  EXPECT_EQ(pull.name_space, "docker.io");
  EXPECT_EQ(pull.repository, "library/a");
  EXPECT_THAT(pull.tls.ca_files, ElementsAre("/etc/x/docker.io/ca.pem", "/abs/ca.pem"));
  EXPECT_EQ(pull.tls.client_cert, "/etc/x/docker.io/client.cert");
  EXPECT_EQ(pull.tls.client_key, "/etc/x/docker.io/client.key");
  EXPECT_EQ(pull.connect_timeout_seconds, 90u);
  EXPECT_FALSE(pull.tls.skip_verify);
  EXPECT_THAT(pull.headers, ::testing::UnorderedElementsAre("x-one: 1", "X-Two: a", "X-Two: b"));
  EXPECT_EQ(pull.configured_by, "/etc/x/docker.io/hosts.toml:3");
  EXPECT_FALSE((*endpoints)[1].content || (*endpoints)[1].tags);
  EXPECT_EQ((*endpoints)[1].tls.client_cert, "/etc/x/docker.io/both.pem");
  EXPECT_EQ((*endpoints)[1].tls.client_key, "");
  EXPECT_TRUE((*endpoints)[2].content && (*endpoints)[2].tags);
  EXPECT_TRUE((*endpoints)[3].tls.skip_verify && !(*endpoints)[3].mirror);
  EXPECT_EQ((*endpoints)[3].name_space, "");
}

TEST(HostsTomlTest, TheRegistryItselfIsNoMirrorHoweverItIsWritten) {
  for (const char* url : {"https://R.example", "https://r.example:443", "r.example/v2", "http://r.example/other"}) {
    Result<std::vector<image::Endpoint>> endpoints = Parse(fmt::format("[host.'{}']\n", url), "r.example/a:1");
    ASSERT_TRUE(endpoints.ok()) << url;
    EXPECT_FALSE((*endpoints)[0].mirror) << url;
    EXPECT_EQ((*endpoints)[0].name_space, "") << url;
  }
  EXPECT_TRUE((*Parse("[host.'http://r.example:443']\n", "r.example/a:1"))[0].mirror);
}

TEST(HostsTomlTest, TimesAreGos) {
  auto seconds = [](const std::string& text) {
    Result<std::vector<image::Endpoint>> endpoints = Parse("[host.'x']\ndial_timeout = '" + text + "'\n");
    return endpoints.ok() ? (*endpoints)[0].connect_timeout_seconds : 0;
  };
  EXPECT_EQ(seconds("1.5s"), 2u);
  EXPECT_EQ(seconds("0.5m"), 30u);
  EXPECT_EQ(seconds("1m0.25s"), 61u);
  EXPECT_EQ(seconds("1h"), 3600u);
  for (const char* wrong :
       {"", "1", "s", ".s", "1.2.3s", "1.s", "0s", "61m", "99999999999h", "1.0000000001s", "-1s", "1 s"}) {
    EXPECT_EQ(seconds(wrong), 0u) << wrong;
  }
}

TEST(HostsTomlTest, WhatIsWrongIsNamedWithItsLine) {
  EXPECT_THAT(Error("[host.'ftp://u@x']\n"), HasSubstr("is no http or https URL"));
  EXPECT_THAT(Error("server = 'https://'\n"), HasSubstr("is no http or https URL"));
  EXPECT_THAT(Error("[host.'x']\ncapabilities = ['fly']\n"), HasSubstr("hosts.toml:2: capabilities: \"fly\""));
  EXPECT_THAT(Error("[host.'x']\nskip_verify = 1\n"), HasSubstr("skip_verify: expected true"));
  EXPECT_THAT(Error("[host.'x']\ndial_timeout = '5'\n"), HasSubstr("dial_timeout"));
  EXPECT_THAT(Error("[host.'x']\ndial_timeout = '9h'\n"), HasSubstr("dial_timeout"));
  EXPECT_THAT(Error("[host.'x']\n[host.'x'.header]\n'a b' = 'c'\n"), HasSubstr("no name of a header"));
  EXPECT_THAT(Error("[host.'x']\n[host.'x'.header]\na = \"b\\r\\nc: d\"\n"), HasSubstr("control character"));
  EXPECT_THAT(Error("[host.'x']\nca = []\n"), HasSubstr("ca: it is empty"));
  EXPECT_THAT(Error("[host.'x']\nclient = [['a','b','c']]\n"), HasSubstr("client: a pair"));
  EXPECT_THAT(Error("host = 3\n"), HasSubstr("host: expected"));
}

class HostsDirsTest : public ::testing::Test {
 protected:
  void Put(const std::string& path, const std::string& text) {
    const std::string file = directory_.path() + "/" + path;
    ::mkdir(file.substr(0, file.rfind('/')).c_str(), 0755);
    ASSERT_TRUE(sys::WriteFileAtomic(file, text, 0644, sys::Durability::kAtomic).ok());
  }
  std::vector<std::string> Load(const std::string& name, Which which = Which::kNamed) {
    auto loaded = LoadHostsToml({"/nowhere", directory_.path()}, *image::Reference::Parse(name), {}, which);
    if (!loaded.ok()) return {loaded.status().message()};
    return loaded->has_value() ? Bases(**loaded) : std::vector<std::string>();
  }
  sys::TempDir directory_;
};

TEST_F(HostsDirsTest, TheRegistrysDirectoryByEitherOfItsNames) {
  Put("r.example:5000/hosts.toml", "server = 'https://colon.example'");
  EXPECT_THAT(Load("r.example:5000/a"), ElementsAre("https://colon.example/v2"));
  Put("r.example_5000_/hosts.toml", "server = 'https://underscore.example'");
  EXPECT_THAT(Load("r.example:5000/a"), ElementsAre("https://underscore.example/v2"));
  EXPECT_THAT(Load("r.example/a"), ElementsAre());
  Put("_default/hosts.toml", "[host.'https://all.example']");
  EXPECT_THAT(Load("r.example/a"), ElementsAre()) << "asked for apart";
  EXPECT_THAT(Load("r.example/a", Which::kDefault), ElementsAre("https://all.example/v2", "https://r.example/v2"));
}

TEST_F(HostsDirsTest, CertificatesLieBesideIt) {
  Put("r.example:5000/b.crt", "");
  Put("r.example:5000/a.crt", "");
  Put("r.example:5000/client.cert", "");
  image::Endpoint endpoint;
  endpoint.base = "https://r.example:5000/v2";
  Status status = AddCertificates({"/nowhere", directory_.path()}, endpoint);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("client.key is not there"));
  Put("r.example:5000/client.key", "");
  endpoint.tls = {};
  ASSERT_TRUE(AddCertificates({"/nowhere", directory_.path()}, endpoint).ok());
  const std::string at = directory_.path() + "/r.example:5000/";
  EXPECT_THAT(endpoint.tls.ca_files, ElementsAre(at + "a.crt", at + "b.crt"));
  EXPECT_EQ(endpoint.tls.client_cert, at + "client.cert");
  EXPECT_EQ(endpoint.tls.client_key, at + "client.key");
  endpoint.tls = {};
  endpoint.tls.ca_files = {"/own"};
  ASSERT_TRUE(AddCertificates({directory_.path()}, endpoint).ok());
  EXPECT_THAT(endpoint.tls.ca_files, ElementsAre("/own")) << "what is configured for it is the whole of it";
  Put("r.example:5000/lonely.key", "");
  endpoint.tls = {};
  EXPECT_THAT(AddCertificates({directory_.path()}, endpoint).message(), HasSubstr("lonely.cert is not there"));
}

TEST_F(HostsDirsTest, ThoseOfDockerHubLieUnderTheNameThatPeopleKnow) {
  Put("docker.io/ca.crt", "");
  image::Endpoint endpoint = image::RegistryEndpoint(*image::Reference::Parse("busybox"), {});
  ASSERT_TRUE(AddCertificates({directory_.path()}, endpoint).ok());
  EXPECT_THAT(endpoint.tls.ca_files, ElementsAre(directory_.path() + "/docker.io/ca.crt"));
}

}  // namespace
}  // namespace davit::registries
