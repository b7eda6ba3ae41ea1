#include <gtest/gtest.h>

#include "network/network.h"

namespace davit::network {
namespace {

TEST(AttachmentTest, RoundTrips) {
  Attachment attachment;
  attachment.config = R"({"name":"n","plugins":[]})";
  attachment.result = R"({"ips":[]})";
  attachment.ips = {"10.0.0.2", "fd00::2"};
  attachment.builtin = true;
  attachment.ports = {
      {Protocol::kUdp, 53, 5353, "127.0.0.1"}, {Protocol::kSctp, 1, 65535, ""}, {Protocol::kTcp, 80, 80, ""}};
  auto again = Attachment::Parse(attachment.ToJson());
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(*again, attachment);
}

TEST(AttachmentTest, EndpointsRoundTrip) {
  Attachment attachment;
  attachment.ips = {"10.89.0.2", "10.89.1.2"};
  attachment.ports = {{Protocol::kTcp, 80, 8080, ""}};
  attachment.endpoints = {
      {"front", "eth0", R"({"name":"front"})", R"({"ips":[]})", {"10.89.0.2"}, "", true, false, true, true},
      {"back", "eth1", R"({"name":"back"})", "", {}, "02:00:00:00:00:01", false, true, false}};
  EXPECT_FALSE(attachment.empty());
  auto again = Attachment::Parse(attachment.ToJson());
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(*again, attachment);
}

// What an earlier davitd has written, and goes on to read what this one writes for the kubelet's pods.
TEST(AttachmentTest, OneNetworkIsOfVersionOne) {
  const std::string text = R"({"version":1,"config":"c","result":"r","ips":["10.0.0.2"],"ports":[]})";
  auto attachment = Attachment::Parse(text);
  ASSERT_TRUE(attachment.ok()) << attachment.status().ToString();
  EXPECT_EQ(attachment->config, "c");
  EXPECT_TRUE(attachment->endpoints.empty());
  EXPECT_EQ(attachment->ToJson(), text);
}

TEST(AttachmentTest, NoTextIsAnEmptyAttachment) {
  auto attachment = Attachment::Parse("");
  ASSERT_TRUE(attachment.ok());
  EXPECT_TRUE(attachment->empty());
}

TEST(AttachmentTest, RejectsWhatItDidNotWrite) {
  for (const char* text :
       {"x", "[]", "{}", R"({"version":2})", R"({"version":3})", R"({"version":2,"endpoints":[]})",
        R"({"version":2,"endpoints":[{"network":"n","interface":"eth0","config":""}]})", R"({"version":1,"ips":[1]})",
        R"({"version":1,"ports":[{"protocol":"icmp","containerPort":1,"hostPort":1}]})",
        R"({"version":1,"ports":[{"protocol":"tcp","containerPort":0,"hostPort":1}]})",
        R"({"version":1,"ports":[{"protocol":"tcp","containerPort":1,"hostPort":65536}]})"}) {
    EXPECT_EQ(Attachment::Parse(text).code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace davit::network
