#include "pod/files.h"

#include <gtest/gtest.h>

namespace davit::pod {
namespace {

TEST(PodFilesTest, ResolvConfHoldsServersSearchesAndOptions) {
  DnsConfig dns{{"10.0.0.10", "fd00::1"}, {"ns.svc.cluster.local", "cluster.local"}, {"ndots:5"}};
  EXPECT_EQ(*ResolvConf(dns),
            "search ns.svc.cluster.local cluster.local\n"
            "nameserver 10.0.0.10\n"
            "nameserver fd00::1\n"
            "options ndots:5\n");
}

TEST(PodFilesTest, AFieldCannotBecomeALineOfItsOwn) {
  for (const char* evil : {"10.0.0.1\nnameserver 6.6.6.6", "a b", "", "a\tb", "x\x7f"}) {
    Result<std::string> text = ResolvConf({{evil}, {}, {}});
    EXPECT_EQ(text.code(), StatusCode::kInvalidArgument) << evil;
    EXPECT_NE(text.status().message().find("dns_config.servers"), std::string::npos);
    EXPECT_FALSE(ResolvConf({{}, {evil}, {}}).ok());
    EXPECT_FALSE(ResolvConf({{}, {}, {evil}}).ok());
  }
  EXPECT_FALSE(HostsFile("a\nb", {"10.0.0.1"}).ok());
  EXPECT_FALSE(ResolvConf({std::vector<std::string>(33, "1.1.1.1"), {}, {}}).ok());
}

TEST(PodFilesTest, HostsNamesThePodAtEachOfItsAddresses) {
  std::string text = *HostsFile("web", {"10.88.0.2", "fd00::2"});
  EXPECT_NE(text.find("127.0.0.1\tlocalhost\n"), std::string::npos);
  EXPECT_NE(text.find("10.88.0.2\tweb\n"), std::string::npos);
  EXPECT_NE(text.find("fd00::2\tweb\n"), std::string::npos);
}

TEST(PodFilesTest, HostnamesAreDnsNames) {
  for (const char* good : {"", "web", "web-0.svc", "A1", "web.sub.ns.svc."})
    EXPECT_TRUE(ValidateHostname(good).ok()) << good;
  for (const char* bad : {"-web", "web-", "a..b", "a b", "web\n", "ü", ".", "a..", ".a"})
    EXPECT_FALSE(ValidateHostname(bad).ok()) << bad;
  EXPECT_FALSE(ValidateHostname(std::string(65, 'a')).ok());
}

TEST(ResolvConfTest, ReadsWhatTheNodeHas) {
  DnsConfig dns = ParseResolvConf(
      "# x\nnameserver 10.0.0.53\nsearch old.example\n\tnameserver\tfd00::53  \n"
      "search a.example b.example\noptions timeout:1 edns0\nbroken\n");
  EXPECT_EQ(dns.servers, (std::vector<std::string>{"10.0.0.53", "fd00::53"}));
  EXPECT_EQ(dns.searches, (std::vector<std::string>{"a.example", "b.example"}));
  EXPECT_EQ(dns.options, (std::vector<std::string>{"timeout:1", "edns0"}));
  EXPECT_FALSE(HasLocalServer(dns));
  EXPECT_TRUE(HasLocalServer(ParseResolvConf("nameserver 127.0.0.53")));
}

TEST(ResolvConfTest, OfAPodWhoseNamesAreAnsweredInside) {
  PodSpec spec;
  const DnsConfig node{{"10.0.0.53"}, {"a.example"}, {"edns0"}};
  EXPECT_EQ(*ResolvConfAt("127.0.0.11", DnsOf(spec, node)),
            "search a.example\nnameserver 127.0.0.11\noptions edns0 ndots:0\n");
  spec.has_dns = true;
  spec.dns = {{"10.9.9.9"}, {"."}, {"ndots:2"}};
  EXPECT_EQ(*ResolvConfAt("127.0.0.11", DnsOf(spec, node)), "nameserver 127.0.0.11\noptions ndots:2\n");
  EXPECT_EQ(DnsOf(spec, node).servers, (std::vector<std::string>{"10.9.9.9"}));
}

}  // namespace
}  // namespace davit::pod
