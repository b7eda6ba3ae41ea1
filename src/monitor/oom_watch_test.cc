#include "monitor/oom_watch.h"

#include <gtest/gtest.h>

#include <fstream>

#include "sys/temp_dir.h"

namespace davit::monitor {
namespace {

constexpr int kKilled = 137;

// Plain files in the place of the kernel's: an emptied one is like that of a removed cgroup, nothing can be read.
class OomWatchTest : public ::testing::Test {
 protected:
  OomWatchTest() : poller_(*Poller::Create()), watch_(poller_) {
    EXPECT_TRUE(sys::MakeDirectories(dir_.At("pod/scope"), 0700).ok());
    Write(kPod, 4, 4);
    Write(kOwn, 0, 0);
  }

  void Write(const std::string& name, int ooms, int kills) {
    std::ofstream(dir_.At(name)) << "low 0\nmax 9\noom " << ooms << "\noom_kill " << kills << "\noom_group_kill 0\n";
  }
  void Vanish(const std::string& name) { std::ofstream{dir_.At(name)}; }
  void Open() { watch_.Open(dir_.At(kOwn)); }
  // As the poller would on the kernel's notice, which plain files give none of.
  void Notice() { static_cast<Pollable&>(watch_).OnReady(0); }

  const std::string kOwn = "pod/scope/memory.events";
  const std::string kPod = "pod/memory.events";
  sys::TempDir dir_;
  Poller poller_;
  OomWatch watch_;
};

TEST_F(OomWatchTest, ReadsTheCounterAtTheEnd) {
  Open();
  EXPECT_FALSE(watch_.Killed(kKilled));
  Write(kOwn, 1, 1);
  EXPECT_TRUE(watch_.Killed(kKilled));
  EXPECT_TRUE(watch_.Killed(0)) << "a child of the container's process counts as well";
}

TEST_F(OomWatchTest, WhatWasBeforeIsNotCounted) {
  Write(kOwn, 3, 3);
  Open();
  EXPECT_FALSE(watch_.Killed(kKilled));
}

TEST_F(OomWatchTest, ANoticeIsRememberedWhenTheCgroupGoes) {
  Open();
  Write(kOwn, 1, 1);
  Notice();
  Vanish(kOwn);
  Notice();
  EXPECT_TRUE(watch_.Killed(0));
}

TEST_F(OomWatchTest, ALimitHitIsTakenForAKillWhenTheCgroupWentUnread) {
  Open();
  Write(kOwn, 1, 0);
  Notice();
  Vanish(kOwn);
  EXPECT_FALSE(watch_.Killed(1));
  EXPECT_TRUE(watch_.Killed(kKilled));
}

TEST_F(OomWatchTest, WithoutAnyNoticeThePodsCounterTells) {
  Open();
  Write(kPod, 5, 5);
  Vanish(kOwn);
  EXPECT_TRUE(watch_.Killed(kKilled));
  EXPECT_FALSE(watch_.Killed(143)) << "it did not die of SIGKILL";
}

TEST_F(OomWatchTest, ANeighboursKillIsNotOurs) {
  Open();
  Write(kPod, 5, 5);
  Notice();
  Vanish(kOwn);
  Notice();
  EXPECT_FALSE(watch_.Killed(kKilled));
}

TEST_F(OomWatchTest, WithoutThePodsFileOnlyOurOwnCounts) {
  ASSERT_TRUE(sys::RemoveTree(dir_.At(kPod)).ok());
  Open();
  Vanish(kOwn);
  EXPECT_FALSE(watch_.Killed(kKilled));
}

TEST_F(OomWatchTest, WithoutAFileNothingIsKnown) {
  watch_.Open(dir_.At("nowhere/memory.events"));
  EXPECT_FALSE(watch_.Killed(kKilled));
}

}  // namespace
}  // namespace davit::monitor
