#include "store/shared_sync.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <thread>
#include <vector>

namespace davit::store {
namespace {

TEST(SharedSyncTest, CallersDuringOneSyncShareTheNext) {
  std::atomic<int> runs = 0;
  std::promise<void> began;
  std::promise<void> release;
  SharedSync sync([&]() -> Status {
    if (runs.fetch_add(1) == 0) {
      began.set_value();
      release.get_future().wait();
    }
    return {};
  });
  std::thread first([&] { EXPECT_TRUE(sync.Wait().ok()); });
  began.get_future().wait();
  std::vector<std::thread> later;
  for (int i = 0; i < 8; ++i) later.emplace_back([&] { EXPECT_TRUE(sync.Wait().ok()); });
  release.set_value();
  first.join();
  for (std::thread& thread : later) thread.join();
  // Two when all eight came in time; at most one a caller when none did.
  EXPECT_GE(runs.load(), 2);
  EXPECT_LE(runs.load(), 9);
}

TEST(SharedSyncTest, EachCallerGetsTheOutcomeOfItsOwnRound) {
  int runs = 0;
  SharedSync sync([&]() -> Status { return ++runs == 1 ? Internal("disk on fire") : Status(); });
  EXPECT_EQ(sync.Wait().message(), "disk on fire");
  EXPECT_TRUE(sync.Wait().ok());
  EXPECT_EQ(runs, 2);
}

}  // namespace
}  // namespace davit::store
