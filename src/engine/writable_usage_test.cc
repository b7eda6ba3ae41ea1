#include "engine/writable_usage.h"

#include <gtest/gtest.h>

#include <future>

namespace davit::engine {
namespace {

TEST(WritableUsageTest, ManyWishesForOneLayerAreOneWalk) {
  ContainerId blocker = ContainerId::Mint();
  ContainerId wanted = ContainerId::Mint();
  ContainerId last = ContainerId::Mint();
  std::promise<void> walking;
  std::promise<void> go_on;
  std::promise<void> done;
  int walks = 0;  // of `wanted`; on the measuring thread until `done`
  WritableUsage usage([&](const ContainerId& id) {
    if (id == blocker) {
      walking.set_value();
      go_on.get_future().wait();
    }
    if (id == wanted) ++walks;
    if (id == last) done.set_value();
  });
  usage.Want(blocker);
  walking.get_future().wait();
  for (int i = 0; i < 5; ++i) usage.Want(wanted);
  usage.Want(last);
  go_on.set_value();
  done.get_future().wait();
  EXPECT_EQ(walks, 1);
}

TEST(WritableUsageTest, EndsWithoutWaitingForTheQueueOrTheRest) {
  std::promise<void> walking;
  std::atomic<int> walks = 0;
  {
    WritableUsage usage([&](const ContainerId&) {
      if (++walks == 1) walking.set_value();
    });
    usage.Want(ContainerId::Mint());
    walking.get_future().wait();
  }
  EXPECT_EQ(walks, 1);
}

}  // namespace
}  // namespace davit::engine
