#include "image/curl_client.h"

#include <gtest/gtest.h>

namespace davit::image {
namespace {

TEST(LoopbackTest, IsAnAddressOrLocalhostAndNoOtherName) {
  for (const char* host : {"localhost", "localhost:5000", "127.0.0.1", "127.9.8.7:80", "[::1]", "[::1]:5000"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host : {"127.example.com:5000", "127.0.0.1.example.com", "localhost.example.com", "128.0.0.1:5000",
                           "[::2]:5000", "10.0.0.1", "0.0.0.0:5000", ""}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

TEST(RetryAfterTest, SecondsOrADate) {
  EXPECT_EQ(RetryAfterSeconds("7"), 7u);
  EXPECT_EQ(RetryAfterSeconds(" 120 "), 120u);
  EXPECT_EQ(RetryAfterSeconds("Fri, 31 Dec 1999 23:59:59 GMT"), 0u);
  EXPECT_GT(RetryAfterSeconds("Fri, 31 Dec 2100 23:59:59 GMT").value_or(0), 1'000'000u);
  for (const char* none : {"", "soon", "-1", "1.5e", "7 seconds or so"}) EXPECT_FALSE(RetryAfterSeconds(none)) << none;
}

}  // namespace
}  // namespace davit::image
