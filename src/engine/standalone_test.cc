#include "engine/standalone.h"

#include <gtest/gtest.h>

namespace davit::engine {
namespace {

using container::ContainerRecord;
using container::Phase;

ContainerRecord Record(Phase phase, const std::string& policy = "no", int exit_code = 0) {
  ContainerRecord record;
  record.id = ContainerId::Mint();
  record.spec.name = "web";
  record.spec.standalone.emplace().restart.name = policy;
  record.phase = phase;
  record.exit_code = exit_code;
  record.finished_at = phase == Phase::kExited ? 1 : 0;
  return record;
}

ContainerPtr Ptr(const ContainerRecord& record) { return std::make_shared<const ContainerRecord>(record); }

TEST(WantsRestartTest, FollowsThePolicy) {
  EXPECT_FALSE(WantsRestart(Record(Phase::kExited, "no", 1), false));
  EXPECT_FALSE(WantsRestart(Record(Phase::kExited, "on-failure", 0), false));
  EXPECT_TRUE(WantsRestart(Record(Phase::kExited, "on-failure", 1), false));
  EXPECT_TRUE(WantsRestart(Record(Phase::kExited, "always", 0), false));
  EXPECT_TRUE(WantsRestart(Record(Phase::kExited, "unless-stopped", 0), false));
  EXPECT_FALSE(WantsRestart(Record(Phase::kRunning, "always", 0), false));
}

TEST(WantsRestartTest, AStopRestsItUntilTheNextBootAtMost) {
  for (const char* policy : {"on-failure", "always", "unless-stopped"}) {
    ContainerRecord record = Record(Phase::kExited, policy, 1);
    record.standalone.stopped = true;
    EXPECT_FALSE(WantsRestart(record, false)) << policy;
    EXPECT_EQ(WantsRestart(record, true), std::string(policy) == "always") << policy;
  }
}

TEST(WantsRestartTest, OnFailureEndsAfterItsRetries) {
  ContainerRecord record = Record(Phase::kExited, "on-failure", 1);
  record.spec.standalone->restart.maximum_retries = 2;
  record.standalone.restarts = 1;
  EXPECT_TRUE(WantsRestart(record, false));
  record.standalone.restarts = 2;
  EXPECT_FALSE(WantsRestart(record, false));
}

TEST(RestartDelayTest, DoublesUpToAMinute) {
  EXPECT_EQ(RestartDelay(0), std::chrono::milliseconds(100));
  EXPECT_EQ(RestartDelay(3), std::chrono::milliseconds(800));
  EXPECT_EQ(RestartDelay(1'000'000), std::chrono::minutes(1));
}

class WaitsTest : public ::testing::Test {
 protected:
  // What `condition` says of a container that goes from one record to the next; nullopt while it waits.
  Waits::Waiter Take() {
    return [this](const WaitOutcome& outcome) { outcomes_.push_back(outcome.exit_code); };
  }
  std::vector<int> outcomes_;
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
  Waits waits_{[this] { return now_; }};
};

TEST_F(WaitsTest, NotRunningHoldsBeforeTheFirstRunAndNextExitDoesNot) {
  ContainerPtr fresh = Ptr(Record(Phase::kDefined));
  waits_.Add(fresh, WaitCondition::kNotRunning, Take());
  EXPECT_EQ(outcomes_.size(), 1u);
  waits_.Add(fresh, WaitCondition::kNextExit, Take());
  waits_.Add(fresh, WaitCondition::kExited, Take());
  EXPECT_EQ(outcomes_.size(), 1u);
}

TEST_F(WaitsTest, NextExitSeesTheEndOfARunThatBeginsLater) {
  ContainerRecord record = Record(Phase::kDefined);
  waits_.Add(Ptr(record), WaitCondition::kNextExit, Take());
  ContainerRecord running = record;
  running.phase = Phase::kRunning;
  waits_.Note(Ptr(record), Ptr(running));
  ContainerRecord ended = running;
  ended.phase = Phase::kExited;
  ended.exit_code = 42;
  waits_.Note(Ptr(running), Ptr(ended));
  EXPECT_EQ(outcomes_, std::vector<int>{42});
}

TEST_F(WaitsTest, RemovedWaitsForTheRemovalAndHasTheExitCode) {
  ContainerRecord ended = Record(Phase::kExited, "no", 7);
  waits_.Add(Ptr(ended), WaitCondition::kRemoved, Take());
  EXPECT_TRUE(outcomes_.empty());
  waits_.Note(Ptr(ended), nullptr);
  EXPECT_EQ(outcomes_, std::vector<int>{7});
}

TEST_F(WaitsTest, OneThatWillBeStartedAgainHasNotEnded) {
  ContainerRecord record = Record(Phase::kExited, "always", 1);
  record.standalone.restarting = true;
  waits_.Add(Ptr(record), WaitCondition::kNotRunning, Take());
  EXPECT_TRUE(outcomes_.empty());
}

TEST_F(WaitsTest, ACancelledOneIsNotCalled) {
  ContainerRecord record = Record(Phase::kRunning);
  waits_.Cancel(waits_.Add(Ptr(record), WaitCondition::kRemoved, Take()));
  waits_.Note(Ptr(record), nullptr);
  EXPECT_TRUE(outcomes_.empty());
}

TEST_F(WaitsTest, AChangeBetweenTheLookAndTheWaitIsNotMissed) {
  ContainerRecord running = Record(Phase::kRunning);
  ContainerRecord ended = running;
  ended.phase = Phase::kExited;
  ended.exit_code = 5;
  Waits::Token token = waits_.Add(Ptr(running), WaitCondition::kNextExit, Take());
  waits_.Recheck(token, Ptr(running), Ptr(ended));
  EXPECT_EQ(outcomes_, std::vector<int>{5});
}

TEST_F(WaitsTest, RemembersExitCodesForFiveMinutes) {
  ContainerRecord ended = Record(Phase::kExited, "no", 9);
  waits_.Note(Ptr(ended), nullptr);
  EXPECT_EQ(waits_.Gone(ended.id.str())->exit_code, 9);
  EXPECT_EQ(waits_.Gone("web")->exit_code, 9);
  EXPECT_FALSE(waits_.Gone("other"));
  now_ += std::chrono::minutes(6);
  EXPECT_FALSE(waits_.Gone(ended.id.str()));
}

}  // namespace
}  // namespace davit::engine
