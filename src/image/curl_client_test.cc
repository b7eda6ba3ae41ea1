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

}  // namespace
}  // namespace davit::image
