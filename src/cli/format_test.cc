#include "cli/format.h"

#include <gtest/gtest.h>

namespace davit::cli {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kNow = 1'800'000'000 * kSecond;

TEST(FormatTest, ShortensOnlyIds) {
  std::string id(64, 'a');
  EXPECT_EQ(DisplayId(id, false), "aaaaaaaaaaaaa");
  EXPECT_EQ(DisplayId(id, true), id);
  EXPECT_EQ(DisplayId("sha256:" + id, false), "aaaaaaaaaaaaa");
  EXPECT_EQ(DisplayId("docker.io/library/redis:latest", false), "docker.io/library/redis:latest");
}

TEST(FormatTest, SaysAgesInTheLargestUnitThatIsThereTwice) {
  EXPECT_EQ(Ago(kNow, kNow), "just now");
  EXPECT_EQ(Ago(kNow, kNow + 5 * kSecond), "just now");
  EXPECT_EQ(Ago(kNow, kNow - kSecond), "1 second ago");
  EXPECT_EQ(Ago(kNow, kNow - 90 * kSecond), "90 seconds ago");
  EXPECT_EQ(Ago(kNow, kNow - 120 * kSecond), "2 minutes ago");
  EXPECT_EQ(Ago(kNow, kNow - 26 * 3600 * kSecond), "26 hours ago");
  EXPECT_EQ(Ago(kNow, kNow - 20 * 86400 * kSecond), "2 weeks ago");
  EXPECT_EQ(Ago(kNow, 0), "");
  EXPECT_FALSE(Ago(kNow, -5).empty());
}

TEST(FormatTest, TakesTheStateOutOfTheEnumsName) {
  EXPECT_EQ(StateWord("SANDBOX_NOTREADY"), "NOTREADY");
  EXPECT_EQ(StateWord("CONTAINER_RUNNING"), "RUNNING");
  EXPECT_EQ(StateWord("7"), "7");
}

TEST(FormatTest, DrawsAPullWithinTheWidth) {
  PullState state;
  state.fetched = 50'000'000;
  state.total = 100'000'000;
  state.layers_done = 1;
  state.layers_total = 3;
  EXPECT_EQ(PullLine(state, 60), "[############.............]  50.0 MB of 100.0 MB  layers 1/3");
  for (unsigned width = 0; width < 120; ++width) EXPECT_LE(PullLine(state, width).size(), width);
}

TEST(FormatTest, DrawsAPullWhoseSizeIsNotKnownOrWrong) {
  PullState state;
  state.fetched = 1'000;
  EXPECT_EQ(PullLine(state, 30).find("of"), std::string::npos);
  state.total = 10;  // a retry fetched more than the manifest says
  EXPECT_NE(PullLine(state, 80).find("[########################################]"), std::string::npos);
}

}  // namespace
}  // namespace davit::cli
