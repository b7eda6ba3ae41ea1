#include "sched/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "sys/unique_fd.h"

namespace davit::sched {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

std::unique_ptr<EventLoop> StartLoop() {
  auto loop = EventLoop::Start("test-loop");
  EXPECT_TRUE(loop.ok()) << loop.status().ToString();
  return std::move(*loop);
}

sys::Pipe NewPipe() {
  auto pipe = sys::MakePipe();
  EXPECT_TRUE(pipe.ok());
  return std::move(*pipe);
}

// Returns once everything that the loop had to do before this call has been done.
void Flush(EventLoop& loop) {
  std::promise<void> ran;
  loop.Post([&] { ran.set_value(); });
  ran.get_future().wait();
}

TEST(EventLoopTest, CallsBackWhenADescriptorIsReadable) {
  auto loop = StartLoop();
  sys::Pipe pipe = NewPipe();
  std::promise<char> got;
  auto token = loop->Watch(pipe.read.get(), EPOLLIN, [&](uint32_t events) {
    EXPECT_TRUE(events & EPOLLIN);
    char c = 0;
    if (::read(pipe.read.get(), &c, 1) == 1) got.set_value(c);
  });
  ASSERT_TRUE(token.ok());
  ASSERT_EQ(::write(pipe.write.get(), "x", 1), 1);
  EXPECT_EQ(got.get_future().get(), 'x');
  loop->Remove(*token);
}

TEST(EventLoopTest, LevelTriggeredUntilRead) {
  auto loop = StartLoop();
  sys::Pipe pipe = NewPipe();
  std::promise<void> thrice;
  int calls = 0;
  auto token = loop->Watch(pipe.read.get(), EPOLLIN, [&](uint32_t) {
    if (++calls == 3) {
      char c = 0;
      EXPECT_EQ(::read(pipe.read.get(), &c, 1), 1);
      thrice.set_value();
    }
  });
  ASSERT_EQ(::write(pipe.write.get(), "x", 1), 1);
  thrice.get_future().wait();
  loop->Remove(*token);
  EXPECT_EQ(calls, 3);
}

TEST(EventLoopTest, WatchingARegularFileIsAnError) {
  auto loop = StartLoop();
  auto file = sys::Open("/proc/self/exe", O_RDONLY);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(loop->Watch(file->get(), EPOLLIN, [](uint32_t) {}).code(), StatusCode::kPermissionDenied);
}

TEST(EventLoopTest, RemoveWaitsForTheRunningCallback) {
  auto loop = StartLoop();
  sys::Pipe pipe = NewPipe();
  std::promise<void> entered;
  std::promise<void> release;
  std::atomic<bool> left = false;
  auto token = loop->Watch(pipe.read.get(), EPOLLIN, [&](uint32_t) {
    char c = 0;
    EXPECT_EQ(::read(pipe.read.get(), &c, 1), 1);
    entered.set_value();
    release.get_future().wait();
    left = true;
  });
  ASSERT_EQ(::write(pipe.write.get(), "x", 1), 1);
  entered.get_future().wait();
  std::thread releaser([&] { release.set_value(); });
  loop->Remove(*token);
  EXPECT_TRUE(left);
  releaser.join();
}

TEST(EventLoopTest, ACallbackMayRemoveItself) {
  auto loop = StartLoop();
  sys::Pipe pipe = NewPipe();
  std::promise<void> done;
  std::promise<EventLoop::Token> token;
  auto held = std::make_shared<std::string>("alive");
  std::weak_ptr<std::string> watch = held;
  auto own = token.get_future().share();
  auto watched = loop->Watch(pipe.read.get(), EPOLLIN, [&, own, held](uint32_t) {
    loop->Remove(own.get());
    EXPECT_EQ(*held, "alive");
    done.set_value();  // a second call would throw
  });
  held.reset();
  ASSERT_EQ(::write(pipe.write.get(), "x", 1), 1);
  token.set_value(*watched);
  done.get_future().wait();
  Flush(*loop);
  EXPECT_TRUE(watch.expired());
}

TEST(EventLoopTest, ACallbackMayRemoveAnotherThatIsReadyInTheSameRound) {
  auto loop = StartLoop();
  sys::Pipe a = NewPipe();
  sys::Pipe b = NewPipe();
  int calls = 0;  // only touched on the loop's thread
  EventLoop::Token tokens[2] = {0, 0};
  std::promise<void> armed;
  // Armed on the loop's thread, so that both are ready before the next epoll_wait.
  loop->Post([&] {
    auto remove_both = [&](uint32_t) {
      ++calls;
      loop->Remove(tokens[0]);
      loop->Remove(tokens[1]);
    };
    tokens[0] = *loop->Watch(a.read.get(), EPOLLIN, remove_both);
    tokens[1] = *loop->Watch(b.read.get(), EPOLLIN, remove_both);
    EXPECT_EQ(::write(a.write.get(), "x", 1), 1);
    EXPECT_EQ(::write(b.write.get(), "x", 1), 1);
    armed.set_value();
  });
  armed.get_future().wait();
  Flush(*loop);
  Flush(*loop);
  loop.reset();
  EXPECT_EQ(calls, 1);
}

TEST(EventLoopTest, NothingOfTheCallbackIsLeftAfterRemove) {
  auto loop = StartLoop();
  for (int i = 0; i < 200; ++i) {
    sys::Pipe pipe = NewPipe();
    auto held = std::make_shared<int>(i);
    std::weak_ptr<int> watch = held;
    auto token = loop->Watch(pipe.read.get(), EPOLLIN, [held](uint32_t) {});
    held.reset();
    ASSERT_EQ(::write(pipe.write.get(), "x", 1), 1);
    loop->Remove(*token);
    EXPECT_TRUE(watch.expired());
  }
}

TEST(EventLoopTest, TimersFireInOrderOfTheirTime) {
  auto loop = StartLoop();
  std::vector<int> order;
  std::promise<void> done;
  loop->Post([&] {
    loop->After(milliseconds(3), [&] {
      order.push_back(3);
      done.set_value();
    });
    loop->After(milliseconds(1), [&] { order.push_back(1); });
    loop->After(milliseconds(2), [&] { order.push_back(2); });
  });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(EventLoopTest, AnEarlierTimerFromAnotherThreadShortensTheWait) {
  auto loop = StartLoop();
  loop->After(hours(1), [] { FAIL() << "an hour did not pass"; });
  std::promise<void> fired;
  loop->After(milliseconds(1), [&] { fired.set_value(); });
  fired.get_future().wait();
}

TEST(EventLoopTest, TimersDoNotFireEarly) {
  auto loop = StartLoop();
  auto begin = std::chrono::steady_clock::now();
  std::promise<std::chrono::steady_clock::time_point> fired;
  loop->After(milliseconds(5), [&] { fired.set_value(std::chrono::steady_clock::now()); });
  EXPECT_GE(fired.get_future().get() - begin, milliseconds(5));
}

TEST(EventLoopTest, ARemovedTimerDoesNotFire) {
  auto loop = StartLoop();
  std::atomic<bool> fired = false;
  EventLoop::Token token = loop->After(milliseconds(2), [&] { fired = true; });
  // Whether it fired or not before Remove: afterwards it does not.
  loop->Remove(token);
  bool before = fired;
  std::promise<void> later;
  loop->After(milliseconds(4), [&] { later.set_value(); });
  later.get_future().wait();
  EXPECT_EQ(fired, before);
  loop->Remove(token);  // long gone: nothing happens
}

TEST(EventLoopTest, ATimerThatSetsItselfAgainDoesNotStarvePosts) {
  auto loop = StartLoop();
  std::atomic<int> rounds = 0;
  // Not through `loop`: reset() empties it before the destructor has stopped the thread.
  std::function<void()> again = [&again, &rounds, raw = loop.get()] {
    ++rounds;
    raw->After(milliseconds(0), again);
  };
  loop->Post(again);
  for (int i = 0; i < 100; ++i) Flush(*loop);
  loop.reset();
  EXPECT_GT(rounds, 0);
}

TEST(EventLoopTest, HugeDelaysAreForEver) {
  auto loop = StartLoop();
  EventLoop::Token token = loop->After(std::chrono::steady_clock::duration::max(), [] { FAIL(); });
  Flush(*loop);
  loop->Remove(token);
}

TEST(EventLoopTest, PostedTasksRunInOrderAlsoAtTheEnd) {
  std::vector<int> order;
  {
    auto loop = StartLoop();
    for (int i = 0; i < 100; ++i) loop->Post([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(EventLoopTest, WatchAndRemoveFromManyThreads) {
  auto loop = StartLoop();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        sys::Pipe pipe = NewPipe();
        int calls = 0;  // safe to read after Remove
        auto token = loop->Watch(pipe.read.get(), EPOLLIN, [&](uint32_t) { ++calls; });
        auto timer = loop->After(milliseconds(0), [&] { ++calls; });
        ASSERT_EQ(::write(pipe.write.get(), "x", 1), 1);
        loop->Remove(*token);
        loop->Remove(timer);
        EXPECT_GE(calls, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace davit::sched
