#include "sys/freezer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "sys/atomic_file.h"
#include "sys/process.h"
#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

Deadline Soon() { return Deadline::After(std::chrono::seconds(30)); }

CgroupLayout UnifiedAt(const std::string& path) {
  MountInfo mount;
  mount.fs_type = "cgroup2";
  mount.mount_point = path;
  mount.super_options = "rw";
  mount.root = "/";
  return *CgroupLayout::FromMounts({mount});
}

// A directory that looks like cgroup2.
TEST(FreezerTest, Version2AsksAndWaitsForTheEvent) {
  TempDir dir;
  const CgroupLayout layout = UnifiedAt(dir.path());
  auto put = [&](const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomic(dir.At(name), text, 0644, Durability::kAtomic).ok());
  };
  EXPECT_EQ(FreezeCgroup(layout, "/pod", Soon()).code(), StatusCode::kNotFound);
  EXPECT_TRUE(ThawCgroup(layout, "/pod", Soon()).ok());
  ASSERT_TRUE(MakeDirectories(dir.At("pod"), 0755).ok());
  put("pod/cgroup.freeze", "0");
  put("pod/cgroup.events", "populated 1\nfrozen 1\n");
  EXPECT_FALSE(*IsCgroupFrozen(layout, "/pod"));
  EXPECT_TRUE(FreezeCgroup(layout, "/pod", Soon()).ok());
  EXPECT_TRUE(*IsCgroupFrozen(layout, "/pod"));
  EXPECT_TRUE(ThawCgroup(layout, "/pod", Soon()).ok());
  EXPECT_FALSE(*IsCgroupFrozen(layout, "/pod"));
  // What does not stop goes on.
  put("pod/cgroup.events", "populated 1\nfrozen 0\n");
  EXPECT_EQ(FreezeCgroup(layout, "/pod", Deadline::After(std::chrono::milliseconds(1))).code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(*IsCgroupFrozen(layout, "/pod"));
}

TEST(FreezerTest, TheRootIsNeverFrozen) {
  TempDir dir;
  for (const char* name : {"/", "", "/..", "relative"}) {
    EXPECT_EQ(FreezeCgroup(UnifiedAt(dir.path()), name, Soon()).code(), StatusCode::kInvalidArgument) << name;
  }
}

class RootFreezerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "making cgroups needs root";
    auto layout = CgroupLayout::Detect();
    if (!layout.ok()) GTEST_SKIP() << layout.status().ToString();
    layout_ = *layout;
    name_ = "/davit-freezer-test-" + std::to_string(::getpid());
    ASSERT_TRUE(CreateCgroup(layout_, name_ + "/ctr").ok());
  }
  void TearDown() override {
    if (name_.empty()) return;
    EXPECT_TRUE(KillCgroup(layout_, name_, Soon()).ok());
    EXPECT_TRUE(RemoveCgroup(layout_, name_).ok());
  }
  // Writes a line at a time, as fast as the reader takes them; forks all the while.
  Result<PidFd> StartBusy(int out) {
    SpawnOptions options;
    options.argv = {"/bin/sh", "-c", "while :; do /bin/true; echo line; done"};
    options.env = MinimalEnvironment();
    options.fds = {{out, 1}};
    ASSIGN_OR_RETURN(PidFd process, Spawn(options));
    RETURN_IF_ERROR(AddProcess(layout_, name_ + "/ctr", process.pid()));
    return process;
  }
  CgroupLayout layout_;
  std::string name_;
};

TEST_F(RootFreezerTest, WhatIsFrozenStandsStillAndGoesOn) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  UniqueFd in(pipe_fds[0]);
  UniqueFd out(pipe_fds[1]);
  auto process = StartBusy(out.get());
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  out.reset();
  char byte = 0;
  ASSERT_EQ(::read(in.get(), &byte, 1), 1);

  for (int round = 0; round < 10; ++round) {  // it forks: the race of version 1 has its chances
    Status frozen = FreezeCgroup(layout_, name_ + "/ctr", Soon());
    ASSERT_TRUE(frozen.ok()) << frozen.ToString();
    EXPECT_TRUE(*IsCgroupFrozen(layout_, name_ + "/ctr"));
    EXPECT_TRUE(FreezeCgroup(layout_, name_ + "/ctr", Soon()).ok());  // again
    Status thawed = ThawCgroup(layout_, name_ + "/ctr", Soon());
    ASSERT_TRUE(thawed.ok()) << thawed.ToString();
    EXPECT_FALSE(*IsCgroupFrozen(layout_, name_ + "/ctr"));
    ASSERT_EQ(::read(in.get(), &byte, 1), 1);
  }
  ASSERT_TRUE(process->Signal(SIGKILL).ok());
  EXPECT_TRUE(process->Reap(Soon()).ok());
}

TEST_F(RootFreezerTest, AFrozenCgroupCanBeKilled) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  UniqueFd in(pipe_fds[0]);
  UniqueFd out(pipe_fds[1]);
  auto process = StartBusy(out.get());
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  ASSERT_TRUE(FreezeCgroup(layout_, name_ + "/ctr", Soon()).ok());
  Status killed = KillCgroup(layout_, name_, Soon());
  EXPECT_TRUE(killed.ok()) << killed.ToString();
  EXPECT_TRUE(process->Reap(Soon()).ok());
}

TEST_F(RootFreezerTest, AMissingCgroupIsNotFoundAndNotFrozen) {
  EXPECT_EQ(FreezeCgroup(layout_, name_ + "/none", Soon()).code(), StatusCode::kNotFound);
  EXPECT_TRUE(ThawCgroup(layout_, name_ + "/none", Soon()).ok());
  EXPECT_EQ(IsCgroupFrozen(layout_, name_ + "/none").code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::sys
