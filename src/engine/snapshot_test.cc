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
  snapshot.pods = {{a->id, a}, {b->id, b}};
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
  snapshot.pods = {{a->id, a}, {other->id, other}};
  EXPECT_EQ(snapshot.FindPod("aaa").code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(snapshot.FindPod(a->id.str()).ok());
}

TEST(SnapshotTest, WhatIsBeingCreatedIsNotThereYet) {
  Snapshot snapshot;
  PodPtr a = MakePod('a', pod::Phase::kCreating);
  snapshot.pods = {{a->id, a}};
  EXPECT_EQ(snapshot.FindPod(a->id.str()).code(), StatusCode::kNotFound);
  EXPECT_EQ(snapshot.FindPod("aa").code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::engine
