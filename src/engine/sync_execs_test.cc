#include "engine/sync_execs.h"

#include <gtest/gtest.h>

#include <condition_variable>

namespace davit::engine {
namespace {

// Begins that wait until they are let go, and then fail: what runs after a begin needs a container.
class SyncExecsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto execs = SyncExecs::Start(pool_, 8);
    ASSERT_TRUE(execs.ok()) << execs.status().ToString();
    execs_ = std::move(*execs);
  }
  void TearDown() override { LetGo(); }
  void LetGo() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // The number under which the answer is noted.
  size_t Run(const ContainerId& id) {
    size_t number = 0;
    {
      std::lock_guard lock(mutex_);
      number = answers_.size();
      answers_.emplace_back();
    }
    execs_->Run(
        id, "true", std::chrono::seconds(0),
        [this](Deadline) -> Result<RunningExec> {
          std::unique_lock lock(mutex_);
          ++begun_;
          changed_.notify_all();
          changed_.wait(lock, [this] { return open_; });
          return NotFound("no container");
        },
        [this, number](const Result<ExecOutput>& output) {
          std::lock_guard lock(mutex_);
          answers_[number].push_back(output.code());
          changed_.notify_all();
        });
    return number;
  }
  std::vector<StatusCode> AnswerOf(size_t number) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [&] { return !answers_[number].empty(); });
    return answers_[number];
  }
  bool Answered(size_t number) {
    std::lock_guard lock(mutex_);
    return !answers_[number].empty();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  size_t begun_ = 0;
  std::vector<std::vector<StatusCode>> answers_;
  std::unique_ptr<SyncExecs> execs_;  // destroyed after the pool
  sched::ThreadPool pool_{"test", 8};
};

TEST_F(SyncExecsTest, AContainerGetsHalfOfWhatIsFree) {
  const ContainerId greedy = ContainerId::Mint(), other = ContainerId::Mint();
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(Answered(Run(greedy)));
  EXPECT_EQ(AnswerOf(Run(greedy)), std::vector{StatusCode::kResourceExhausted});
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(Answered(Run(other)));
  EXPECT_EQ(AnswerOf(Run(other)), std::vector{StatusCode::kResourceExhausted});
  EXPECT_FALSE(Answered(Run(ContainerId::Mint()))) << "there is room for another";
  LetGo();
  for (size_t i : {0, 1, 2, 3, 5, 6, 8}) EXPECT_EQ(AnswerOf(i), std::vector{StatusCode::kNotFound}) << i;
  EXPECT_EQ(AnswerOf(Run(greedy)), std::vector{StatusCode::kNotFound}) << "what has ended is free again";
}

TEST_F(SyncExecsTest, StopAnswersEveryRequestOnce) {
  const ContainerId id = ContainerId::Mint();
  for (int i = 0; i < 4; ++i) Run(id);
  execs_->Stop();
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(AnswerOf(i), std::vector{StatusCode::kUnavailable});
  EXPECT_EQ(AnswerOf(Run(id)), std::vector{StatusCode::kUnavailable});
}

}  // namespace
}  // namespace davit::engine
