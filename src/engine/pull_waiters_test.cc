#include "engine/pull_waiters.h"

#include <gtest/gtest.h>

namespace davit::engine {
namespace {

using std::chrono::seconds;

TEST(PullWaitersTest, APullIsAbandonedWhenNobodyHasWantedItForAWhile) {
  PullWaiters waiters(seconds(120));
  PullWaiters::Clock::time_point now{};
  bool first = true, second = true;
  EXPECT_FALSE(waiters.Abandoned("pull", now)) << "no such pull";
  uint64_t one = waiters.Enter("pull", [&] { return first; });
  waiters.Enter("pull", [&] { return second; });
  first = false;
  EXPECT_FALSE(waiters.Abandoned("pull", now += seconds(500)));
  second = false;
  EXPECT_FALSE(waiters.Abandoned("pull", now));
  EXPECT_FALSE(waiters.Abandoned("pull", now + seconds(119)));
  // Somebody who joins in time keeps it.
  uint64_t three = waiters.Enter("pull", nullptr);
  EXPECT_FALSE(waiters.Abandoned("pull", now += seconds(500)));
  waiters.Leave("pull", three);
  EXPECT_FALSE(waiters.Abandoned("pull", now));
  EXPECT_TRUE(waiters.Abandoned("pull", now + seconds(120)));
  waiters.Leave("pull", one);
  EXPECT_TRUE(waiters.Abandoned("pull", now + seconds(120)));
}

}  // namespace
}  // namespace davit::engine
