#include "image/auth_challenge.h"

#include <gtest/gtest.h>

namespace davit::image {
namespace {

TEST(AuthChallengeTest, ParsesBearer) {
  auto all = ParseChallenges(
      R"(Bearer realm="https://auth.example/token?a=b",service="reg\"istry",scope="repository:a/b:pull,push")");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].scheme, "bearer");
  EXPECT_EQ(all[0].params["realm"], "https://auth.example/token?a=b");
  EXPECT_EQ(all[0].params["service"], "reg\"istry");
  EXPECT_EQ(all[0].params["scope"], "repository:a/b:pull,push");
}

TEST(AuthChallengeTest, ParsesSeveralChallengesAndOddSpacing) {
  auto all = ParseChallenges(R"(  basic Realm = "x" , BEARER realm=https ,  service = s, Negotiate)");
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].params["realm"], "x");
  EXPECT_EQ(all[1].scheme, "bearer");
  EXPECT_EQ(all[1].params["service"], "s");
  EXPECT_EQ(all[2].scheme, "negotiate");
}

TEST(AuthChallengeTest, SurvivesGarbage) {
  for (const char* text :
       {"", "=", "\"", "Bearer realm=\"unterminated", "Bearer realm=\"a\\", ",,,,", "a=b", "Bearer ,=,\"\""}) {
    ParseChallenges(text);
  }
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "S" + std::to_string(i) + " a=b, ";
  EXPECT_LE(ParseChallenges(many).size(), 8u);
}

TEST(AuthChallengeTest, EncodesUrls) {
  EXPECT_EQ(UrlEncode("repository:a/b:pull c&d~"), "repository%3Aa%2Fb%3Apull%20c%26d~");
}

}  // namespace
}  // namespace davit::image
