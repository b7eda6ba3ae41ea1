#include "sched/idle_worker.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace davit::sched {
namespace {

TEST(IdleWorkerTest, RunsTasksInOrder) {
  std::vector<int> order;
  std::promise<void> last;
  IdleWorker worker("test-idle");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(worker.Post([&, i](IdleWorker::Pace& pace) {
      EXPECT_TRUE(pace.Rest(1));
      order.push_back(i);
      if (i == 2) last.set_value();
    }));
  }
  last.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(IdleWorkerTest, TheEndIsSeenByTheRunningTaskAndDropsTheRest) {
  std::promise<void> running;
  bool saw_end = false;
  bool second = false;
  {
    IdleWorker worker("test-idle");
    ASSERT_TRUE(worker.Post([&](IdleWorker::Pace& pace) {
      running.set_value();
      while (pace.Rest(1)) {
      }
      saw_end = pace.ending();
    }));
    ASSERT_TRUE(worker.Post([&](IdleWorker::Pace&) { second = true; }));
    running.get_future().wait();
  }
  EXPECT_TRUE(saw_end);
  EXPECT_FALSE(second);
}

}  // namespace
}  // namespace davit::sched
