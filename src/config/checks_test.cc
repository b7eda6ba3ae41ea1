#include "config/checks.h"

#include <gtest/gtest.h>

namespace davit::config {
namespace {

bool PathOk(std::string path) { return CheckAbsolutePath(path).ok(); }
bool MirrorOk(const std::string& url) {
  std::vector<std::string> urls = {url};
  return CheckMirrors(urls).ok();
}

TEST(ChecksTest, Paths) {
  EXPECT_TRUE(PathOk("/"));
  EXPECT_TRUE(PathOk("/var/lib/davit/"));
  for (const char* path : {"", "x", "./x", "/a/../b", "/a//b", "/a/./b", "/a\nb", "~/x"})
    EXPECT_FALSE(PathOk(path)) << path;
  std::string slash = "/a/";
  ASSERT_TRUE(CheckAbsolutePath(slash).ok());
  EXPECT_EQ(slash, "/a");
}

TEST(ChecksTest, Sockets) {
  std::string path = "unix:///run/x.sock";
  ASSERT_TRUE(CheckSocketPath(path).ok());
  EXPECT_EQ(path, "/run/x.sock");
  for (std::string bad :
       {std::string("unix://run/x"), std::string("tcp://x"), "/" + std::string(108, 'x'), std::string("unix://")}) {
    EXPECT_FALSE(CheckSocketPath(bad).ok()) << bad;
  }
}

TEST(ChecksTest, Addresses) {
  for (const char* good : {"127.0.0.1", "::1", "10.0.0.1", "fe80::1"}) EXPECT_TRUE(CheckIpAddress(good).ok()) << good;
  for (const char* bad : {"", "localhost", "[::1]", "127.0.0.1:80", "127.1", "fe80::1%eth0"})
    EXPECT_FALSE(CheckIpAddress(bad).ok()) << bad;
}

TEST(ChecksTest, ListenAddresses) {
  for (const char* good : {"", "127.0.0.1:9537", "[::1]:0", "0.0.0.0:1", "unix:///run/x.sock"}) {
    EXPECT_TRUE(CheckListenAddress(good).ok()) << good;
  }
  for (const char* bad :
       {"127.0.0.1", "::1:80", "[::1]", "localhost:1", "1.2.3.4:65536", "[1.2.3.4]:1", "unix://x", ":1"}) {
    EXPECT_FALSE(CheckListenAddress(bad).ok()) << bad;
  }
}

TEST(ChecksTest, RegistryHosts) {
  for (const char* good : {"docker.io", "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "[::1]", "my_host"}) {
    EXPECT_TRUE(CheckRegistryHost(good).ok()) << good;
  }
  for (const char* bad : {"", "Docker.io", "https://docker.io", "docker.io/library", "h:0", "h:65536", "h:", ":80",
                          "a b", "[x]", "::1"}) {
    EXPECT_FALSE(CheckRegistryHost(bad).ok()) << bad;
  }
}

TEST(ChecksTest, Mirrors) {
  for (const char* good : {"http://127.0.0.1:5000", "https://mirror.example/prefix/"})
    EXPECT_TRUE(MirrorOk(good)) << good;
  for (const char* bad : {"", "mirror.example", "ftp://x", "http://", "http:///x", "https://u:p@h", "https://h?x",
                          "https://h#x", "https://h x", "HTTP://x"}) {
    EXPECT_FALSE(MirrorOk(bad)) << bad;
  }
  std::vector<std::string> urls = {"http://h/p//"};
  ASSERT_TRUE(CheckMirrors(urls).ok());
  EXPECT_EQ(urls[0], "http://h/p");
}

TEST(ChecksTest, Capabilities) {
  std::vector<std::string> names = {"chown", "CAP_KILL", "Net_Raw"};
  ASSERT_TRUE(CheckCapabilities(names).ok());
  EXPECT_EQ(names, (std::vector<std::string>{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"}));
  for (const char* bad : {"", "ALL", "CAP_", "NET RAW", "X1"}) {
    std::vector<std::string> one = {bad};
    EXPECT_FALSE(CheckCapabilities(one).ok()) << bad;
  }
}

TEST(ChecksTest, Sizes) {
  EXPECT_EQ(*ParseSize("0"), 0);
  EXPECT_EQ(*ParseSize("64 MiB"), 64 << 20);
  EXPECT_EQ(*ParseSize("2GB"), 2'000'000'000);
  for (const char* bad : {"", "MiB", "1 mib", "-1", "1.5GB", "9223372036854775808", "9999999999 TiB", "1 GB x"}) {
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
  }
}

TEST(ChecksTest, Ranges) {
  EXPECT_TRUE(CheckRange(1, 1, 2).ok());
  EXPECT_EQ(CheckRange(3, 1, 2).message(), "3 is not in the range 1 to 2");
  EXPECT_EQ(CheckRange(0, 1, INT64_MAX).message(), "0 is less than 1");
}

}  // namespace
}  // namespace davit::config
