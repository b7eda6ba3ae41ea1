#include "network/prefix.h"

#include <gtest/gtest.h>

namespace davit::network {
namespace {

Prefix P(std::string_view text) { return *Prefix::Parse(text); }
Address A(std::string_view text) { return *Address::Parse(text); }

TEST(PrefixTest, HostBitsDoNotCount) {
  EXPECT_EQ(P("10.89.0.5/24").ToString(), "10.89.0.0/24");
  EXPECT_EQ(P("10.89.255.255/20").ToString(), "10.89.240.0/20");
  EXPECT_EQ(P("fd00:1:2:3:4::1/64").ToString(), "fd00:1:2:3::/64");
  EXPECT_EQ(P("0.0.0.0/0").ToString(), "0.0.0.0/0");
}

TEST(PrefixTest, RefusesWhatIsNoSubnet) {
  for (const char* text : {"", "10.0.0.0", "10.0.0.0/33", "10.0.0/24", "fd00::/129", "10.0.0.0/-1", "10.0.0.0/24 ",
                           "x/24", "/24", "10.0.0.0/"}) {
    EXPECT_EQ(Prefix::Parse(text).code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(Address::Parse(std::string_view("10.0.0.1\0", 9)));
  EXPECT_FALSE(Address::Parse("fe80::1%eth0"));
}

TEST(PrefixTest, OverlapIsEitherInsideTheOther) {
  EXPECT_TRUE(P("10.88.0.0/16").Overlaps(P("10.88.7.0/24")));
  EXPECT_TRUE(P("10.88.7.0/24").Overlaps(P("10.88.0.0/16")));
  EXPECT_TRUE(P("0.0.0.0/0").Overlaps(P("10.88.7.0/24")));
  EXPECT_FALSE(P("10.88.0.0/16").Overlaps(P("10.89.0.0/24")));
  EXPECT_FALSE(P("0.0.0.0/0").Overlaps(P("::/0")));
}

TEST(PrefixTest, ContainsAndLast) {
  EXPECT_TRUE(P("10.89.0.0/24").Contains(A("10.89.0.255")));
  EXPECT_FALSE(P("10.89.0.0/24").Contains(A("10.89.1.0")));
  EXPECT_FALSE(P("10.89.0.0/24").Contains(A("fd00::1")));
  EXPECT_EQ(P("10.89.0.0/24").Last().ToString(), "10.89.0.255");
  EXPECT_EQ(P("10.89.0.0/23").Last().ToString(), "10.89.1.255");
  EXPECT_EQ(A("10.89.0.255").Next().ToString(), "10.89.1.0");
  EXPECT_EQ(A("255.255.255.255").Next().ToString(), "0.0.0.0");
}

TEST(PrefixTest, MacAddresses) {
  EXPECT_TRUE(IsMacAddress("02:42:0a:58:00:05"));
  EXPECT_TRUE(IsMacAddress("AA:BB:CC:DD:EE:FF"));
  for (const char* text : {"", "02:42:0a:58:00", "02-42-0a-58-00-05", "03:42:0a:58:00:05", "ff:ff:ff:ff:ff:ff",
                           "00:00:00:00:00:00", "02:42:0a:58:00:0g", "02:42:0a:58:00:055"}) {
    EXPECT_FALSE(IsMacAddress(text)) << text;
  }
}

}  // namespace
}  // namespace davit::network
