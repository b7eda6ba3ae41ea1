#include "engine/events.h"

#include <gtest/gtest.h>

#include "engine/records.h"
#include "sys/temp_dir.h"

namespace davit::engine {
namespace {

using container::ContainerRecord;
using Kinds = std::vector<std::pair<std::string, EventKind>>;

class EventsTest : public ::testing::Test {
 protected:
  void Open(EventOptions options = {}) {
    events = std::make_unique<EventLog>(std::move(options));
    database = *store::Database::Open(dir.path() + "/davit.db");
    records = *Records::Load(*database, *events, activity);
  }
  void SetUp() override {
    pod.id = PodId::Mint();
    ctr.id = ContainerId::Mint();
    ctr.pod = pod.id;
  }

  void Put(container::Phase phase) {
    ctr.phase = phase;
    if (phase == container::Phase::kExited) ctr.finished_at = 1;
    ASSERT_TRUE(records->Put(ctr).ok());
  }
  void Put(pod::Phase phase) {
    pod.phase = phase;
    ASSERT_TRUE(records->Put(pod).ok());
  }
  std::shared_ptr<EventSubscription> Subscribe(std::function<void()> wake = [] {}) {
    return *events->Subscribe(std::move(wake));
  }
  static Kinds Drain(EventSubscription& subscription) {
    Kinds kinds;
    for (;;) {
      Result<EventPtr> next = subscription.Next();
      if (!next.ok() || !*next) return kinds;
      kinds.emplace_back((*next)->id, (*next)->kind);
    }
  }

  sys::TempDir dir;
  pod::PodRecord pod;
  ContainerRecord ctr;
  std::unique_ptr<EventLog> events;
  ActivityLog activity;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<Records> records;
};

TEST_F(EventsTest, ALifeIsToldInOrderWithTheStatusOfEachMoment) {
  Open();
  events->EndRecovery();
  auto subscription = Subscribe();
  Put(pod::Phase::kCreating);
  Put(pod::Phase::kReady);
  Put(container::Phase::kCreating);
  Put(container::Phase::kCreated);
  Put(container::Phase::kRunning);
  Put(container::Phase::kExited);
  Put(container::Phase::kRemoving);
  ASSERT_TRUE(records->Erase(ctr.id).ok());
  Put(pod::Phase::kStopping);
  Put(pod::Phase::kNotReady);
  Put(pod::Phase::kRemoving);
  ASSERT_TRUE(records->Erase(pod.id).ok());

  const std::string p = pod.id.str();
  const std::string c = ctr.id.str();
  Kinds expected = {{p, EventKind::kCreated}, {p, EventKind::kStarted}, {c, EventKind::kCreated},
                    {c, EventKind::kStarted}, {c, EventKind::kStopped}, {c, EventKind::kDeleted},
                    {p, EventKind::kStopped}, {p, EventKind::kDeleted}};
  Kinds got;
  std::vector<EventPtr> all;
  for (;;) {
    EventPtr event = *subscription->Next();
    if (!event) break;
    got.emplace_back(event->id, event->kind);
    all.push_back(event);
  }
  EXPECT_EQ(got, expected);
  ASSERT_EQ(all.size(), 8u);
  for (const EventPtr& event : all) ASSERT_TRUE(event->pod);
  ASSERT_EQ(all[3]->containers.size(), 1u);
  EXPECT_EQ(all[3]->containers[0]->phase, container::Phase::kRunning);
  EXPECT_EQ(all[4]->containers[0]->phase, container::Phase::kExited);
  EXPECT_TRUE(all[5]->containers.empty());
  EXPECT_EQ(all[3]->pod->phase, pod::Phase::kReady);
  EXPECT_EQ(all[7]->pod->phase, pod::Phase::kRemoving);
}

TEST_F(EventsTest, WhatFailedToBeMadeHasNoEvents) {
  Open();
  events->EndRecovery();
  auto subscription = Subscribe();
  Put(pod::Phase::kCreating);
  Put(container::Phase::kCreating);
  Put(container::Phase::kRemoving);
  ASSERT_TRUE(records->Erase(ctr.id).ok());
  Put(pod::Phase::kRemoving);
  ASSERT_TRUE(records->Erase(pod.id).ok());
  EXPECT_EQ(Drain(*subscription), Kinds{});
}

TEST_F(EventsTest, StepsTakenAtOnceAreToldOneByOne) {
  Open();
  events->EndRecovery();
  Put(pod::Phase::kReady);
  auto subscription = Subscribe();
  Put(container::Phase::kRunning);
  ASSERT_TRUE(records->Erase(ctr.id).ok());
  ASSERT_TRUE(records->Erase(pod.id).ok());
  const std::string p = pod.id.str();
  const std::string c = ctr.id.str();
  EXPECT_EQ(Drain(*subscription), (Kinds{{c, EventKind::kCreated},
                                         {c, EventKind::kStarted},
                                         {c, EventKind::kStopped},
                                         {c, EventKind::kDeleted},
                                         {p, EventKind::kStopped},
                                         {p, EventKind::kDeleted}}));
}

TEST_F(EventsTest, AChangeWithoutAStepIsNoEvent) {
  Open();
  events->EndRecovery();
  Put(pod::Phase::kReady);
  Put(container::Phase::kRunning);
  auto subscription = Subscribe();
  ctr.spec.resources.cpu_shares = 100;
  Put(container::Phase::kRunning);
  Put(pod::Phase::kReady);
  EXPECT_EQ(Drain(*subscription), Kinds{});
}

TEST_F(EventsTest, ASlowSubscriberHearsHowMuchItHasMissed) {
  Open({.queue = 3});
  events->EndRecovery();
  auto slow = Subscribe();
  auto other = Subscribe();
  Put(pod::Phase::kReady);
  EXPECT_EQ(Drain(*other).size(), 2u);
  Put(container::Phase::kRunning);  // two more: the second is one too many
  Put(container::Phase::kExited);
  EXPECT_EQ(Drain(*other).size(), 3u);
  Kinds got = Drain(*slow);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got.back(), (std::pair{ctr.id.str(), EventKind::kCreated}));
  Result<EventPtr> end = slow->Next();
  EXPECT_EQ(end.code(), StatusCode::kOutOfRange);
  EXPECT_NE(end.status().message().find("2 events were lost"), std::string::npos) << end.status().message();
  EXPECT_EQ(events->counters().lost, 2u);
  EXPECT_EQ(events->counters().published, 5u);
  EXPECT_EQ(events->counters().subscribers, 2u);
}

TEST_F(EventsTest, AWaitingSubscriberIsWokenOnceForEachWait) {
  Open();
  events->EndRecovery();
  int woken = 0;
  auto subscription = Subscribe([&] { ++woken; });
  Put(pod::Phase::kReady);
  EXPECT_EQ(woken, 0);  // it has not asked yet
  Drain(*subscription);
  Put(container::Phase::kRunning);
  EXPECT_EQ(woken, 1);
  Put(container::Phase::kExited);
  EXPECT_EQ(woken, 1);  // it has not come back yet
  Drain(*subscription);
  events->Close();
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(subscription->Next().code(), StatusCode::kUnavailable);
  EXPECT_EQ(events->Subscribe([] {}).code(), StatusCode::kUnavailable);
}

TEST_F(EventsTest, ADroppedSubscriptionMakesRoomForAnother) {
  Open({.subscribers = 1});
  events->EndRecovery();
  auto first = Subscribe();
  EXPECT_EQ(events->Subscribe([] {}).code(), StatusCode::kResourceExhausted);
  first.reset();
  EXPECT_TRUE(events->Subscribe([] {}).ok());
}

TEST_F(EventsTest, ExitsFoundByRecoveryReachWhoComesSoonAfterTheStart) {
  Open();
  Put(pod::Phase::kReady);
  Put(container::Phase::kRunning);
  records.reset();

  // The next davitd finds that the container has ended.
  std::chrono::steady_clock::time_point now;
  EventOptions options;
  options.replay = std::chrono::seconds(60);
  options.now = [&now] { return now; };
  database.reset();
  Open(options);
  Put(container::Phase::kExited);
  events->EndRecovery();
  const Kinds exit = {{ctr.id.str(), EventKind::kStopped}};
  EXPECT_EQ(Drain(*Subscribe()), exit);
  now += std::chrono::seconds(59);
  EXPECT_EQ(Drain(*Subscribe()), exit);
  now += std::chrono::seconds(2);
  EXPECT_EQ(Drain(*Subscribe()), Kinds{});
}

}  // namespace
}  // namespace davit::engine
