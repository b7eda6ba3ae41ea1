#include "sched/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <thread>
#include <vector>

namespace davit::sched {
namespace {

TEST(ThreadPoolTest, StartsNoThreadWithoutWork) {
  ThreadPool pool("idle", 4);
  EXPECT_EQ(pool.threads(), 0u);
}

TEST(ThreadPoolTest, RunsTasksAtTheSameTimeUpToTheLimit) {
  ThreadPool pool("par", 3);
  std::latch all(3);  // passes only if three run together
  std::latch done(3);
  for (int i = 0; i < 3; ++i) {
    pool.Post([&] {
      all.arrive_and_wait();
      done.count_down();
    });
  }
  done.wait();
  EXPECT_LE(pool.threads(), 3u);
}

TEST(ThreadPoolTest, NeverRunsMoreThanTheLimit) {
  std::atomic<int> running = 0;
  std::atomic<int> most = 0;
  {
    ThreadPool pool("cap", 2);
    for (int i = 0; i < 200; ++i) {
      pool.Post([&] {
        int now = ++running;
        int seen = most.load();
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::yield();
        --running;
      });
    }
  }
  EXPECT_LE(most.load(), 2);
  EXPECT_GE(most.load(), 1);
}

TEST(ThreadPoolTest, DestructorRunsQueuedTasksAndWhatTheyPost) {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool("drain", 2);
    for (int i = 0; i < 50; ++i) {
      pool.Post([&] {
        ++ran;
        pool.Post([&] { ++ran; });
      });
    }
  }
  EXPECT_EQ(ran.load(), 100);
}

TEST(ThreadPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ThreadPool pool("fifo", 1);
    for (int i = 0; i < 100; ++i) pool.Post([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ThreadPoolTest, IdleThreadsEndAndNewOnesStart) {
  ThreadPool pool("reaped", 4, std::chrono::milliseconds(0));
  for (int round = 0; round < 50; ++round) {
    std::promise<void> ran;
    pool.Post([&] { ran.set_value(); });
    ran.get_future().wait();
    while (pool.threads() > 0) std::this_thread::yield();
  }
  EXPECT_EQ(pool.threads(), 0u);
}

TEST(ThreadPoolTest, TasksBehindStuckOnesRunOnOverflowThreads) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  ThreadPool pool("stuck", 2, std::chrono::milliseconds(0), {.threads = 6, .patience = std::chrono::milliseconds(1)});
  for (int i = 0; i < 5; ++i) pool.Post([released] { released.wait(); });
  std::promise<void> ran;
  pool.Post([&] { ran.set_value(); });
  ran.get_future().wait();  // for ever, were the five allowed to hold it up
  release.set_value();
}

TEST(ThreadPoolTest, OverflowHasALimitToo) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<int> started = 0;
  ThreadPool pool("limit", 2, std::chrono::milliseconds(0), {.threads = 3, .patience = std::chrono::milliseconds(0)});
  for (int i = 0; i < 20; ++i) {
    pool.Post([&started, released] {
      ++started;
      released.wait();
    });
  }
  while (started < 5) std::this_thread::yield();
  EXPECT_EQ(pool.threads(), 5u);
  release.set_value();
}

TEST(ThreadPoolTest, TaskCapturesAreGoneBeforeTheNextTask) {
  ThreadPool pool("captures", 1);
  auto held = std::make_shared<int>(1);
  std::weak_ptr<int> watch = held;
  pool.Post([held = std::move(held)] {});
  std::promise<bool> expired;
  pool.Post([&] { expired.set_value(watch.expired()); });
  EXPECT_TRUE(expired.get_future().get());
}

TEST(ThreadPoolTest, PostsFromManyThreadsAllRun) {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool("many", 3, std::chrono::milliseconds(0));
    std::vector<std::thread> posters;
    for (int t = 0; t < 4; ++t) {
      posters.emplace_back([&] {
        for (int i = 0; i < 500; ++i) pool.Post([&] { ++ran; });
      });
    }
    for (std::thread& poster : posters) poster.join();
  }
  EXPECT_EQ(ran.load(), 2000);
}

}  // namespace
}  // namespace davit::sched
