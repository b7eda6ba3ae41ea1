#include <gtest/gtest.h>

#include "network/network.h"

namespace davit::network {
namespace {

TEST(AttachmentTest, RoundTrips) {
  Attachment attachment;
  attachment.config = R"({"name":"n","plugins":[]})";
  attachment.result = R"({"ips":[]})";
  attachment.ips = {"10.0.0.2", "fd00::2"};
  attachment.ports = {
      {Protocol::kUdp, 53, 5353, "127.0.0.1"}, {Protocol::kSctp, 1, 65535, ""}, {Protocol::kTcp, 80, 80, ""}};
  auto again = Attachment::Parse(attachment.ToJson());
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(*again, attachment);
}

TEST(AttachmentTest, NoTextIsAnEmptyAttachment) {
  auto attachment = Attachment::Parse("");
  ASSERT_TRUE(attachment.ok());
  EXPECT_TRUE(attachment->empty());
}

TEST(AttachmentTest, RejectsWhatItDidNotWrite) {
  for (const char* text : {"x", "[]", "{}", R"({"version":2})", R"({"version":1,"ips":[1]})",
                           R"({"version":1,"ports":[{"protocol":"icmp","containerPort":1,"hostPort":1}]})",
                           R"({"version":1,"ports":[{"protocol":"tcp","containerPort":0,"hostPort":1}]})",
                           R"({"version":1,"ports":[{"protocol":"tcp","containerPort":1,"hostPort":65536}]})"}) {
    EXPECT_EQ(Attachment::Parse(text).code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace davit::network
