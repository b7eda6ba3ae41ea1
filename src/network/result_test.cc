#include "network/result.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::network {
namespace {

using ::testing::HasSubstr;
using Ips = std::vector<std::string>;

struct Golden {
  const char* name;
  const char* text;
  Ips ips;
};

const Golden kGolden[] = {
    {"0.2.0",
     R"({"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.5/16","routes":[{"dst":"0.0.0.0/0"}]},"dns":{}})",
     {"10.1.0.5"}},
    {"0.2.0 dual", R"({"ip6":{"ip":"fd00::5/64"},"ip4":{"ip":"10.1.0.5/16"}})", {"10.1.0.5", "fd00::5"}},
    {"0.3.1",
     R"({"cniVersion":"0.3.1","interfaces":[{"name":"br0"},{"name":"veth1"},{"name":"eth0","sandbox":"/run/ns"}],
        "ips":[{"version":"4","interface":2,"address":"10.1.0.6/16","gateway":"10.1.0.1"}],"dns":{}})",
     {"10.1.0.6"}},
    {"0.4.0 two",
     R"({"cniVersion":"0.4.0","ips":[{"version":"6","address":"fd00::7/64"},{"version":"4","address":"10.1.0.7/16"}]})",
     {"fd00::7", "10.1.0.7"}},
    {"1.0.0",
     R"({"cniVersion":"1.0.0","interfaces":[{"name":"br0","mac":"aa"},{"name":"eth0","sandbox":"/ns"}],
        "ips":[{"interface":0,"address":"10.1.0.1/16"},{"interface":1,"address":"10.1.0.8/16"}]})",
     {"10.1.0.8"}},
    {"1.1.0",
     R"({"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/ns","mtu":1500}],
        "ips":[{"interface":0,"address":"10.1.0.9/16"}],"routes":[{"dst":"0.0.0.0/0","mtu":1400}]})",
     {"10.1.0.9"}},
    {"index past the end", R"({"ips":[{"interface":7,"address":"10.1.0.10/16"}]})", {"10.1.0.10"}},
    {"index -1", R"({"ips":[{"interface":-1,"address":"10.1.0.11/16"}]})", {"10.1.0.11"}},
    {"no prefix length", R"({"ips":[{"address":"10.1.0.12"}]})", {"10.1.0.12"}},
    {"twice", R"({"ips":[{"address":"10.1.0.13/16"},{"address":"10.1.0.13/16"}]})", {"10.1.0.13"}},
    {"none", R"({"cniVersion":"1.0.0","dns":{}})", {}},
    {"nulls", R"({"cniVersion":"1.0.0","interfaces":null,"ips":null})", {}},
};

TEST(CniResultTest, ReadsEveryVersion) {
  for (const Golden& golden : kGolden) {
    auto result = ParseCniResult(golden.text);
    ASSERT_TRUE(result.ok()) << golden.name << ": " << result.status().ToString();
    EXPECT_EQ(result->ips, golden.ips) << golden.name;
  }
}

TEST(CniResultTest, RejectsGarbage) {
  for (const char* text : {"", "no", "[]", "7", R"({"ips":{}})", R"({"ips":["10.0.0.1"]})", R"({"ips":[{}]})",
                           R"({"ips":[{"address":"10.0.0.300/8"}]})", R"({"ips":[{"address":"/24"}]})",
                           R"({"ips":[{"address":"10.0.0.1\u0000;x/24"}]})", R"({"ip4":{}})", R"({"ip4":"10.0.0.1"})",
                           R"({"ips":[{"address":"10.0.0.1/8","interface":"x"}]})"}) {
    EXPECT_EQ(ParseCniResult(text).code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(CniResultTest, CapsAddressesAndSize) {
  std::string many = R"({"ips":[{"address":"10.0.0.1"})";
  for (size_t i = 0; i < kMaxResultAddresses; ++i) many += R"(,{"address":"10.0.0.1"})";
  EXPECT_EQ(ParseCniResult(many + "]}").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ParseCniResult(std::string(kMaxResultBytes + 1, ' ')).code(), StatusCode::kResourceExhausted);
}

TEST(CniResultTest, ConvertsBetweenAllShapesWithoutLosingAddresses) {
  for (const Golden& golden : kGolden) {
    for (const char* version : {"0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
      auto text = ConvertCniResult(golden.text, version);
      ASSERT_TRUE(text.ok()) << golden.name;
      auto result = ParseCniResult(*text);
      ASSERT_TRUE(result.ok()) << *text;
      EXPECT_EQ(result->cni_version, version);
      // 0.2.0 has no interfaces, and one address of each family.
      if (std::string(version) != "0.2.0") {
        EXPECT_EQ(result->ips, golden.ips) << golden.name << " as " << version;
      }
    }
  }
}

TEST(CniResultTest, AddressVersionIsThereExactlyWhereItBelongs) {
  EXPECT_THAT(*ConvertCniResult(R"({"ips":[{"address":"fd00::1/64"}]})", "0.4.0"), HasSubstr(R"("version":"6")"));
  EXPECT_THAT(*ConvertCniResult(R"({"ips":[{"version":"4","address":"10.0.0.1/8"}]})", "1.0.0"),
              ::testing::Not(HasSubstr(R"("version")")));
  EXPECT_THAT(*ConvertCniResult(R"({"ips":[{"address":"10.0.0.1/8","gateway":"10.0.0.254"}]})", "0.2.0"),
              HasSubstr(R"("ip4":{"ip":"10.0.0.1/8","gateway":"10.0.0.254"})"));
}

TEST(CniErrorTest, CodesBecomeStatusCodes) {
  const std::pair<int, StatusCode> codes[] = {
      {1, StatusCode::kFailedPrecondition}, {2, StatusCode::kFailedPrecondition}, {3, StatusCode::kNotFound},
      {7, StatusCode::kFailedPrecondition}, {11, StatusCode::kUnavailable},       {50, StatusCode::kUnavailable},
      {5, StatusCode::kInternal},           {999, StatusCode::kInternal}};
  for (const auto& [number, code] : codes) {
    Status status =
        ParseCniError("{\"code\":" + std::to_string(number) + R"(,"msg":"no address left","details":"range 1"})");
    EXPECT_EQ(status.code(), code) << number;
    EXPECT_EQ(status.message(), "no address left: range 1");
  }
}

TEST(CniErrorTest, OtherTextIsNoError) {
  for (const char* text : {"", "panic: x", "{}", "[]", R"({"code":"x"})", R"({"msg":7})"}) {
    EXPECT_TRUE(ParseCniError(text).ok()) << text;
  }
}

TEST(CniErrorTest, ControlCharactersAreNotPassedOn) {
  EXPECT_THAT(ParseCniError(R"({"code":100,"msg":"a\u001b[31mb"})").message(), HasSubstr("\\x1b"));
}

}  // namespace
}  // namespace davit::network
