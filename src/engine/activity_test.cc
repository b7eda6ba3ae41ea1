#include "engine/activity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::engine {
namespace {

using container::ContainerRecord;
using container::Phase;
using ::testing::ElementsAre;

class ActivityLogTest : public ::testing::Test {
 protected:
  // The change of one container to what `change` makes of it; nullptr erases it.
  void Change(const std::function<void(ContainerRecord&)>& change) {
    Snapshot after = now_;
    if (change) {
      ContainerRecord record = now_.containers().count(id_) != 0 ? *now_.containers().at(id_) : Fresh();
      change(record);
      after.Put(std::make_shared<const ContainerRecord>(record));
    } else {
      after.Erase(id_);
    }
    log_.Note(now_, after, id_);
    now_ = after;
  }
  ContainerRecord Fresh() const {
    ContainerRecord record;
    record.id = id_;
    record.pod = PodId::Mint();
    record.spec.name = "web";
    record.spec.standalone.emplace();
    return record;
  }
  std::vector<std::string> Read(ActivityLog::Reader& reader) {
    std::vector<std::string> actions;
    while (true) {
      Result<ActivityPtr> next = log_.Next(reader);
      if (!next.ok()) {
        actions.push_back(next.status().message());
        return actions;
      }
      if (!*next) return actions;
      actions.push_back((*next)->action);
    }
  }

  const ContainerId id_ = ContainerId::Mint();
  Snapshot now_;
  ActivityLog log_{8, 2};
};

TEST_F(ActivityLogTest, TellsTwoRunsOfAStandaloneContainerAsDockerDoes) {
  auto reader = *log_.Follow(0, [] {});
  Change([](ContainerRecord& r) { r.phase = Phase::kDefined; });
  Change([](ContainerRecord& r) { r.phase = Phase::kCreating; });
  Change([](ContainerRecord& r) { r.phase = Phase::kCreated; });
  Change([](ContainerRecord& r) { r.phase = Phase::kRunning; });
  Change([](ContainerRecord& r) {
    r.phase = Phase::kExited;
    r.finished_at = 7;
    r.exit_code = 3;
  });
  Change([](ContainerRecord& r) { r.phase = Phase::kCreating; });
  Change([](ContainerRecord& r) { r.phase = Phase::kRunning; });
  EXPECT_THAT(Read(*reader), ElementsAre("create", "start", "die", "start"));
}

TEST_F(ActivityLogTest, AnEndHasItsExitCodeAndAnOutOfMemoryKillItsOwnWord) {
  Change([](ContainerRecord& r) { r.phase = Phase::kRunning; });
  auto reader = *log_.Follow(0, [] {});
  Change([](ContainerRecord& r) {
    r.phase = Phase::kExited;
    r.exit_code = 137;
    r.reason = "OOMKilled";
  });
  ActivityPtr oom = *log_.Next(*reader);
  ActivityPtr die = *log_.Next(*reader);
  EXPECT_EQ(oom->action, "oom");
  EXPECT_EQ(die->attributes.at("exitCode"), "137");
  EXPECT_EQ(die->attributes.at("name"), "web");
}

TEST_F(ActivityLogTest, OfTheKubeletsOneNothingIsToldBeforeItIsMade) {
  auto reader = *log_.Follow(0, [] {});
  Change([](ContainerRecord& r) {
    r.spec.standalone.reset();
    r.phase = Phase::kCreating;
  });
  EXPECT_THAT(Read(*reader), ElementsAre());
  Change([](ContainerRecord& r) { r.phase = Phase::kCreated; });
  Change(nullptr);
  EXPECT_THAT(Read(*reader), ElementsAre("create", "destroy"));
}

TEST_F(ActivityLogTest, TellsPausesAndNames) {
  Change([](ContainerRecord& r) { r.phase = Phase::kRunning; });
  auto reader = *log_.Follow(0, [] {});
  Change([](ContainerRecord& r) { r.standalone.paused = true; });
  Change([](ContainerRecord& r) { r.standalone.paused = false; });
  Change([](ContainerRecord& r) { r.spec.name = "www"; });
  EXPECT_THAT(Read(*reader), ElementsAre("pause", "unpause", "rename"));
}

TEST_F(ActivityLogTest, ReplaysFromATimeAndSaysWhatWasOverwritten) {
  for (int i = 1; i <= 20; ++i) log_.Add({"image", "pull", std::to_string(i), i, {}, false});
  auto late = *log_.Follow(18, [] {});
  EXPECT_THAT(Read(*late), ElementsAre("pull", "pull", "pull"));
  for (int i = 21; i <= 40; ++i) log_.Add({"image", "pull", std::to_string(i), i, {}, false});
  EXPECT_THAT(Read(*late), ElementsAre("12 events were lost because this client read too slowly"));
}

TEST_F(ActivityLogTest, WakesOnlyWhoHasSeenTheEnd) {
  int woken = 0;
  auto reader = *log_.Follow(0, [&] { ++woken; });
  log_.Add({"image", "pull", "1", 0, {}, false});
  EXPECT_EQ(woken, 0);
  Read(*reader);
  log_.Add({"image", "pull", "2", 0, {}, false});
  log_.Add({"image", "pull", "3", 0, {}, false});
  EXPECT_EQ(woken, 1);
}

TEST_F(ActivityLogTest, HasACapOfReadersAndAnEnd) {
  auto one = *log_.Follow(0, [] {});
  auto two = *log_.Follow(0, [] {});
  EXPECT_EQ(log_.Follow(0, [] {}).code(), StatusCode::kResourceExhausted);
  two.reset();
  EXPECT_TRUE(log_.Follow(0, [] {}).ok());
  log_.Close();
  EXPECT_EQ(log_.Next(*one).code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace davit::engine
