#include "engine/records.h"

#include <gtest/gtest.h>

#include "sys/temp_dir.h"

namespace davit::engine {
namespace {

TEST(RecordsTest, ASnapshotHeldByAReaderDoesNotChange) {
  sys::TempDir dir;
  auto database = *store::Database::Open(dir.path() + "/davit.db");
  EventLog events;
  ActivityLog activity;
  auto records = *Records::Load(*database, events, activity);
  pod::PodRecord pod;
  pod.id = PodId::Mint();
  ASSERT_TRUE(records->Put(pod).ok());
  SnapshotPtr before = records->View();
  pod.phase = pod::Phase::kReady;
  ASSERT_TRUE(records->Put(pod).ok());
  EXPECT_EQ(before->pods().at(pod.id)->phase, pod::Phase::kCreating);
  EXPECT_EQ(records->View().FindPod(pod.id.str()).value()->phase, pod::Phase::kReady);
  ASSERT_TRUE(records->Erase(pod.id).ok());
  EXPECT_FALSE(records->View().FindPod(pod.id.str()).ok());
  EXPECT_EQ(before->pods().size(), 1u);
}

TEST(RecordsTest, WhatWasPutIsLoadedAgain) {
  sys::TempDir dir;
  container::ContainerRecord record;
  record.id = ContainerId::Mint();
  record.phase = container::Phase::kRunning;
  {
    auto database = *store::Database::Open(dir.path() + "/davit.db");
    EventLog events;
    ActivityLog activity;
    ASSERT_TRUE((*Records::Load(*database, events, activity))->Put(record).ok());
  }
  auto database = *store::Database::Open(dir.path() + "/davit.db");
  EventLog events;
  ActivityLog activity;
  auto records = *Records::Load(*database, events, activity);
  EXPECT_EQ(records->View().FindContainer(record.id.str()).value()->phase, container::Phase::kRunning);
}

TEST(RecordsTest, ADamagedRecordCostsItsOwnObjectAndIsKept) {
  sys::TempDir dir;
  auto database = *store::Database::Open(dir.path() + "/davit.db");
  ASSERT_TRUE(database->Put(store::Kind::kPod, "abc", "not json", store::Durability::kAtomic).ok());
  ASSERT_TRUE(database->Put(store::Kind::kContainer, "def", "", store::Durability::kAtomic).ok());
  pod::PodRecord whole, moved;
  whole.id = PodId::Mint();
  whole.phase = pod::Phase::kReady;  // one that is being made is not shown
  moved.id = PodId::Mint();
  ASSERT_TRUE(database->Put(store::Kind::kPod, whole.id.str(), pod::ToText(whole), store::Durability::kAtomic).ok());
  // A flipped bit may leave a record that reads well and is another's.
  ASSERT_TRUE(database->Put(store::Kind::kPod, "123", pod::ToText(moved), store::Durability::kAtomic).ok());
  EventLog events;
  ActivityLog activity;
  Result<std::unique_ptr<Records>> records = Records::Load(*database, events, activity);
  ASSERT_TRUE(records.ok()) << records.status().ToString();
  const SnapshotPtr view = (*records)->View();
  EXPECT_EQ(view->pods().size(), 1u);
  EXPECT_TRUE((*records)->View().FindPod(whole.id.str()).ok());
  std::vector<std::string> named;
  for (const Records::Unreadable& row : (*records)->unreadable()) named.push_back(row.id);
  EXPECT_EQ(named, (std::vector<std::string>{"abc", "123", "def"}));
  EXPECT_EQ(database->Get(store::Kind::kPod, "abc").value_or(""), "not json");
}

}  // namespace
}  // namespace davit::engine
