#include "engine/records.h"

#include <gtest/gtest.h>

#include "sys/temp_dir.h"

namespace davit::engine {
namespace {

TEST(RecordsTest, ASnapshotHeldByAReaderDoesNotChange) {
  sys::TempDir dir;
  auto database = *store::Database::Open(dir.path() + "/davit.db");
  EventLog events;
  auto records = *Records::Load(*database, events);
  pod::PodRecord pod;
  pod.id = PodId::Mint();
  ASSERT_TRUE(records->Put(pod).ok());
  SnapshotPtr before = records->View();
  pod.phase = pod::Phase::kReady;
  ASSERT_TRUE(records->Put(pod).ok());
  EXPECT_EQ(before->pods.at(pod.id)->phase, pod::Phase::kCreating);
  EXPECT_EQ(records->View().FindPod(pod.id.str()).value()->phase, pod::Phase::kReady);
  ASSERT_TRUE(records->Erase(pod.id).ok());
  EXPECT_FALSE(records->View().FindPod(pod.id.str()).ok());
  EXPECT_EQ(before->pods.size(), 1u);
}

TEST(RecordsTest, WhatWasPutIsLoadedAgain) {
  sys::TempDir dir;
  container::ContainerRecord record;
  record.id = ContainerId::Mint();
  record.phase = container::Phase::kRunning;
  {
    auto database = *store::Database::Open(dir.path() + "/davit.db");
    EventLog events;
    ASSERT_TRUE((*Records::Load(*database, events))->Put(record).ok());
  }
  auto database = *store::Database::Open(dir.path() + "/davit.db");
  EventLog events;
  auto records = *Records::Load(*database, events);
  EXPECT_EQ(records->View().FindContainer(record.id.str()).value()->phase, container::Phase::kRunning);
}

TEST(RecordsTest, ADamagedRecordIsNamedAndKept) {
  sys::TempDir dir;
  auto database = *store::Database::Open(dir.path() + "/davit.db");
  ASSERT_TRUE(database->Put(store::Kind::kPod, "abc", "not json", store::Durability::kAtomic).ok());
  EventLog events;
  Result<std::unique_ptr<Records>> records = Records::Load(*database, events);
  EXPECT_EQ(records.code(), StatusCode::kDataLoss);
  EXPECT_NE(records.status().message().find("pod record abc"), std::string::npos);
  EXPECT_TRUE(database->Get(store::Kind::kPod, "abc").ok());
}

}  // namespace
}  // namespace davit::engine
