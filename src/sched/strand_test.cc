#include "sched/strand.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <map>
#include <thread>
#include <vector>

namespace davit::sched {
namespace {

TEST(StrandTest, OneKeyRunsInOrderAndNeverTwiceAtOnce) {
  ThreadPool pool("strand", 4);
  std::vector<int> order;  // unguarded on purpose: the strand is the guard, and TSan watches
  {
    Strands strands(pool);
    for (int i = 0; i < 500; ++i) strands.Post("pod", [&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 500u);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(StrandTest, DifferentKeysRunTogether) {
  ThreadPool pool("strand", 2);
  Strands strands(pool);
  std::latch both(2);
  std::latch done(2);
  for (const char* key : {"a", "b"}) {
    strands.Post(key, [&] {
      both.arrive_and_wait();
      done.count_down();
    });
  }
  done.wait();
}

TEST(StrandTest, ABusyKeyDoesNotKeepTheThreadFromOthers) {
  ThreadPool pool("fair", 1);
  std::vector<std::string> order;
  {
    Strands strands(pool);
    std::promise<void> open;
    std::shared_future<void> gate = open.get_future().share();
    strands.Post("gate", [gate] { gate.wait(); });
    for (int i = 0; i < 3; ++i) strands.Post("busy", [&] { order.emplace_back("busy"); });
    strands.Post("other", [&] { order.emplace_back("other"); });
    open.set_value();
  }
  EXPECT_EQ(order, (std::vector<std::string>{"busy", "other", "busy", "busy"}));
}

TEST(StrandTest, TasksMayPostToTheirOwnAndOtherKeys) {
  ThreadPool pool("nested", 2);
  std::atomic<int> ran = 0;
  {
    Strands strands(pool);
    std::promise<void> posted;
    strands.Post("a", [&] {
      strands.Post("a", [&] { ++ran; });
      strands.Post("b", [&] { ++ran; });
      posted.set_value();
    });
    posted.get_future().wait();
  }
  EXPECT_EQ(ran.load(), 2);
}

TEST(StrandTest, ManyThreadsAndKeysKeepEachKeySerial) {
  ThreadPool pool("stress", 4);
  std::map<std::string, int> counts{{"0", 0}, {"1", 0}, {"2", 0}};
  {
    Strands strands(pool);
    std::vector<std::thread> posters;
    for (int t = 0; t < 4; ++t) {
      posters.emplace_back([&] {
        for (int i = 0; i < 300; ++i) {
          std::string key = std::to_string(i % 3);
          int* count = &counts[key];
          strands.Post(key, [count] { ++*count; });
        }
      });
    }
    for (std::thread& poster : posters) poster.join();
  }
  for (const auto& [key, count] : counts) EXPECT_EQ(count, 400) << key;
}

}  // namespace
}  // namespace davit::sched
