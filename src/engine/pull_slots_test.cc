#include "engine/pull_slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <vector>

namespace davit::engine {
namespace {

TEST(PullSlotsTest, OneHostsPullsLeaveRoomForAnothers) {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  std::vector<std::string> begun, ended;
  {
    auto pool = std::make_unique<sched::ThreadPool>("test", 4);
    PullSlots slots(*pool, 2);
    auto wait_for = [&](size_t count) {
      std::unique_lock lock(mutex);
      return changed.wait_for(lock, std::chrono::seconds(30), [&] { return begun.size() >= count; });
    };
    auto slow = [&](const std::string& name) {
      std::unique_lock lock(mutex);
      begun.push_back(name);
      changed.notify_all();
      changed.wait(lock, [&] { return open; });
      ended.push_back(name);
    };
    for (int i = 0; i < 8; ++i) slots.Post("slow", [&, i] { slow("slow" + std::to_string(i)); });
    slots.Post("other", [&] { slow("other"); });
    EXPECT_TRUE(wait_for(3));
    {
      std::lock_guard lock(mutex);
      EXPECT_EQ(begun.size(), 3u) << "two of one host, one of the other";
      EXPECT_EQ(std::count(begun.begin(), begun.end(), "other"), 1);
      open = true;
    }
    changed.notify_all();
    EXPECT_TRUE(wait_for(9));
    pool.reset();  // its tasks use the slots
  }
  EXPECT_EQ(ended.size(), 9u);
}

}  // namespace
}  // namespace davit::engine
