#include "engine/stops.h"

#include <gtest/gtest.h>

namespace davit::engine {
namespace {

class StopsTest : public ::testing::Test {
 protected:
  static Stops::Time At(int seconds) { return Stops::Time(std::chrono::seconds(seconds)); }

  Stops stops;
  ContainerId id = ContainerId::Mint();
};

TEST_F(StopsTest, NothingIsArmedBeforeTheStopBegins) {
  stops.Ask(id, At(30));
  EXPECT_EQ(stops.Earlier(id), std::nullopt);
  EXPECT_FALSE(stops.GiveUp(id));
  stops.Begin(id, [] {});
  EXPECT_EQ(stops.Earlier(id), At(30));
  EXPECT_TRUE(stops.GiveUp(id));
}

TEST_F(StopsTest, TheShortestGraceCountsWheneverItComes) {
  stops.Ask(id, At(30));
  stops.Ask(id, At(20));  // before the first one has begun
  stops.Begin(id, [] {});
  EXPECT_EQ(stops.Earlier(id), At(20));
  EXPECT_EQ(stops.Arm(id, At(20), 7), std::nullopt);
  EXPECT_EQ(stops.Earlier(id), std::nullopt);
  stops.Ask(id, At(25));
  EXPECT_EQ(stops.Earlier(id), std::nullopt);
  stops.Ask(id, At(5));
  EXPECT_EQ(stops.Earlier(id), At(5));
  EXPECT_EQ(stops.Arm(id, At(5), std::nullopt), 7u);  // the timer that it replaces
}

TEST_F(StopsTest, TheEndGivesTheTimerBack) {
  EXPECT_EQ(stops.End(id), std::nullopt);
  stops.Ask(id, At(5));
  stops.Begin(id, [] {});
  stops.Arm(id, At(5), 7);
  EXPECT_EQ(stops.End(id), 7u);
  EXPECT_EQ(stops.End(id), std::nullopt);
  EXPECT_FALSE(stops.GiveUp(id));
}

TEST_F(StopsTest, TheNextStopStartsAnew) {
  stops.Ask(id, At(5));
  stops.Begin(id, [] {});
  stops.Arm(id, At(5), std::nullopt);
  stops.End(id);
  stops.Ask(id, At(50));
  EXPECT_EQ(stops.Earlier(id), std::nullopt);
  stops.Begin(id, [] {});
  EXPECT_EQ(stops.Earlier(id), At(50));
}

}  // namespace
}  // namespace davit::engine
