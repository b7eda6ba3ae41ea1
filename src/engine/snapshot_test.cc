#include "engine/snapshot.h"

#include <gtest/gtest.h>

namespace davit::engine {
namespace {

PodPtr MakePod(char digit, pod::Phase phase = pod::Phase::kReady) {
  auto record = std::make_shared<pod::PodRecord>();
  record->id = *PodId::Parse(std::string(63, digit) + "0");
  record->phase = phase;
  return record;
}

TEST(SnapshotTest, FindsByFullIdAndUniquePrefix) {
  Snapshot snapshot;
  PodPtr a = MakePod('a');
  PodPtr b = MakePod('b');
  snapshot.Put(a);
  snapshot.Put(b);
  EXPECT_EQ((*snapshot.FindPod(a->id.str()))->id, a->id);
  EXPECT_EQ((*snapshot.FindPod("bb"))->id, b->id);
  EXPECT_EQ(snapshot.FindPod("c").code(), StatusCode::kNotFound);
  EXPECT_EQ(snapshot.FindPod(std::string(64, 'c')).code(), StatusCode::kNotFound);
  EXPECT_EQ(snapshot.FindPod("").code(), StatusCode::kInvalidArgument);
}

TEST(SnapshotTest, AnAmbiguousPrefixIsAnErrorAndNotAGuess) {
  Snapshot snapshot;
  PodPtr a = MakePod('a');
  auto other = std::make_shared<pod::PodRecord>(*a);
  other->id = *PodId::Parse(std::string(63, 'a') + "1");
  snapshot.Put(a);
  snapshot.Put(PodPtr(other));
  EXPECT_EQ(snapshot.FindPod("aaa").code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(snapshot.FindPod(a->id.str()).ok());
}

TEST(SnapshotTest, WhatIsBeingCreatedIsNotThereYet) {
  Snapshot snapshot;
  PodPtr a = MakePod('a', pod::Phase::kCreating);
  snapshot.Put(a);
  EXPECT_EQ(snapshot.FindPod(a->id.str()).code(), StatusCode::kNotFound);
  EXPECT_EQ(snapshot.FindPod("aa").code(), StatusCode::kNotFound);
}

TEST(SnapshotTest, ContainersAreFoundByTheirPod) {
  Snapshot snapshot;
  PodPtr pod = MakePod('a');
  snapshot.Put(pod);
  auto container = [&](char digit, container::Phase phase) {
    auto record = std::make_shared<container::ContainerRecord>();
    record->id = *ContainerId::Parse(std::string(64, digit));
    record->pod = pod->id;
    record->phase = phase;
    return ContainerPtr(record);
  };
  EXPECT_TRUE(snapshot.ContainersOf(pod->id).empty());
  snapshot.Put(container('d', container::Phase::kCreated));
  snapshot.Put(container('c', container::Phase::kCreated));
  const Snapshot before = snapshot;
  snapshot.Put(container('d', container::Phase::kRunning));
  ASSERT_EQ(snapshot.ContainersOf(pod->id).size(), 2u);
  EXPECT_EQ(snapshot.ContainersOf(pod->id)[0]->id.str().front(), 'c') << "by id";
  EXPECT_EQ(snapshot.ContainersOf(pod->id)[1]->phase, container::Phase::kRunning);
  EXPECT_EQ(before.ContainersOf(pod->id)[1]->phase, container::Phase::kCreated);
  snapshot.Erase(*ContainerId::Parse(std::string(64, 'c')));
  snapshot.Erase(*ContainerId::Parse(std::string(64, 'c')));
  snapshot.Erase(*ContainerId::Parse(std::string(64, 'd')));
  EXPECT_TRUE(snapshot.ContainersOf(pod->id).empty());
  EXPECT_TRUE(snapshot.containers().empty());
  EXPECT_EQ(before.ContainersOf(pod->id).size(), 2u);
}

}  // namespace
}  // namespace davit::engine
