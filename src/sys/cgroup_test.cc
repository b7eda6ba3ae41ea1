#include "sys/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "sys/cgroup_stats.h"
#include "sys/process.h"
#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

MountInfo CgroupMount(const std::string& type, const std::string& point, const std::string& options,
                      const std::string& root = "/") {
  MountInfo mount;
  mount.fs_type = type;
  mount.mount_point = point;
  mount.super_options = options;
  mount.root = root;
  return mount;
}

TEST(CgroupLayoutTest, FindsControllersFromMountinfo) {
  auto layout = CgroupLayout::FromMounts(
      {CgroupMount("cgroup", "/inner", "rw,memory", "/docker/x"), CgroupMount("cgroup", "/cg/a", "rw,cpu,cpuacct"),
       CgroupMount("cgroup", "/cg/b", "rw,xattr,name=systemd,release_agent=/x"),
       CgroupMount("cgroup", "/cg/m", "rw,memory"), CgroupMount("cgroup2", "/cg/u", "rw")});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->mode(), CgroupMode::kHybrid);
  EXPECT_EQ(layout->V1MountPoint("cpuacct"), "/cg/a");
  EXPECT_EQ(layout->V1MountPoint("memory"), "/cg/m");  // not the bind mount of a part
  EXPECT_EQ(layout->V1MountPoint("name=systemd"), "/cg/b");
  EXPECT_EQ(layout->V1MountPoint("rw"), std::nullopt);
  EXPECT_EQ(layout->Directories("/p"), (std::vector<std::string>{"/cg/a/p", "/cg/b/p", "/cg/m/p", "/cg/u/p"}));
  EXPECT_EQ(layout->OomFile("/p"), "/cg/m/p/memory.oom_control");
}

TEST(CgroupLayoutTest, TellsTheModes) {
  EXPECT_EQ(CgroupLayout::FromMounts({}).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(CgroupLayout::FromMounts({CgroupMount("cgroup", "/cg/m", "rw,memory")})->mode(), CgroupMode::kV1);
  auto unified = CgroupLayout::FromMounts({CgroupMount("cgroup2", "/cg", "rw,nsdelegate")});
  EXPECT_EQ(unified->mode(), CgroupMode::kUnified);
  EXPECT_EQ(unified->Directory("memory", "/p"), "/cg/p");
  EXPECT_EQ(unified->OomFile("/p"), "/cg/p/memory.events");
}

TEST(CgroupPathTest, AcceptsOnlyCleanAbsolutePaths) {
  EXPECT_EQ(*CleanCgroupPath("/kubepods.slice/pod1/"), "/kubepods.slice/pod1");
  EXPECT_EQ(*CleanCgroupPath("/"), "");
  for (const char* bad : {"", "kubepods", "/a//b", "/a/../b", "/./a", "/a/..", "//", "/a\nb"}) {
    EXPECT_EQ(CleanCgroupPath(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(CleanCgroupPath("/" + std::string(4096, 'a')).code(), StatusCode::kInvalidArgument);
}

// A directory tree that looks like cgroup2.
class UnifiedTest : public testing::Test {
 protected:
  void Put(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomic(dir_.At(name), text, 0644, Durability::kAtomic).ok());
  }
  std::string Get(const std::string& name) { return ReadFile(dir_.At(name), 1000).value_or("(none)"); }
  CgroupLayout Layout() { return *CgroupLayout::FromMounts({CgroupMount("cgroup2", dir_.path(), "rw")}); }
  TempDir dir_;
};

TEST_F(UnifiedTest, CreateEnablesControllersOnTheWay) {
  Put("cgroup.controllers", "cpu memory pids\n");
  Put("cgroup.subtree_control", "cpu\n");
  auto created = CreateCgroup(Layout(), "/kubepods/pod1");
  ASSERT_TRUE(created.ok()) << created.status().ToString();
  EXPECT_TRUE(*created);
  EXPECT_EQ(Get("cgroup.subtree_control").substr(0, 13), "+memory +pids");
  EXPECT_TRUE(CgroupExists(Layout(), "/kubepods/pod1"));
  EXPECT_FALSE(CgroupExists(Layout(), "/kubepods/pod2"));
  EXPECT_FALSE(*CreateCgroup(Layout(), "/kubepods/pod1"));
  EXPECT_TRUE(RemoveCgroup(Layout(), "/kubepods").ok());
  EXPECT_FALSE(CgroupExists(Layout(), "/kubepods"));
  EXPECT_TRUE(RemoveCgroup(Layout(), "/kubepods").ok());
}

TEST_F(UnifiedTest, TheRootIsNeverMadeKilledOrRemoved) {
  EXPECT_EQ(CreateCgroup(Layout(), "/").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(KillCgroup(Layout(), "/", Deadline::Infinite()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(RemoveCgroup(Layout(), "/").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(RemoveCgroup(Layout(), "/..").code(), StatusCode::kInvalidArgument);
}

TEST_F(UnifiedTest, ListsProcessesOfTheWholeTree) {
  ASSERT_TRUE(CreateCgroup(Layout(), "/pod/a").ok());
  ASSERT_TRUE(CreateCgroup(Layout(), "/pod/b").ok());
  Put("pod/cgroup.procs", "");
  Put("pod/a/cgroup.procs", "30\n10\n");
  Put("pod/b/cgroup.procs", "20\n0\n10\n");
  EXPECT_EQ(*ListProcesses(Layout(), "/pod"), (std::vector<pid_t>{10, 20, 30}));
  EXPECT_EQ(ListProcesses(Layout(), "/none").code(), StatusCode::kNotFound);
}

TEST_F(UnifiedTest, AddWritesThePid) {
  ASSERT_TRUE(CreateCgroup(Layout(), "/pod").ok());
  EXPECT_EQ(AddProcess(Layout(), "/pod", 42).code(), StatusCode::kNotFound);
  Put("pod/cgroup.procs", "");
  EXPECT_TRUE(AddProcess(Layout(), "/pod", 42).ok());
  EXPECT_EQ(Get("pod/cgroup.procs"), "42");
}

TEST_F(UnifiedTest, KillUsesCgroupKill) {
  ASSERT_TRUE(CreateCgroup(Layout(), "/pod").ok());
  Put("pod/cgroup.procs", "");
  Put("pod/cgroup.kill", "");
  EXPECT_TRUE(KillCgroup(Layout(), "/pod", Deadline::Infinite()).ok());
  EXPECT_EQ(Get("pod/cgroup.kill"), "1");
  EXPECT_TRUE(KillCgroup(Layout(), "/none", Deadline::Infinite()).ok());
}

class RootCgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "making cgroups needs root";
    auto layout = CgroupLayout::Detect();
    if (!layout.ok()) GTEST_SKIP() << layout.status().ToString();
    layout_ = *layout;
    name_ = "/davit-sys-test-" + std::to_string(::getpid());
  }
  void TearDown() override {
    if (name_.empty()) return;
    EXPECT_TRUE(KillCgroup(layout_, name_, Deadline::After(std::chrono::seconds(30))).ok());
    Status removed = RemoveCgroup(layout_, name_);
    EXPECT_TRUE(removed.ok()) << removed.ToString();
  }
  CgroupLayout layout_;
  std::string name_;
};

TEST_F(RootCgroupTest, CreateAddKillRemove) {
  auto created = CreateCgroup(layout_, name_ + "/pod/ctr");
  ASSERT_TRUE(created.ok()) << created.status().ToString();
  EXPECT_TRUE(*created);
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait"};
  options.env = MinimalEnvironment();
  auto first = Spawn(options);
  options.argv = {"sleep", "1000"};
  auto second = Spawn(options);
  ASSERT_TRUE(first.ok() && second.ok());
  Status added = AddProcess(layout_, name_ + "/pod/ctr", second->pid());
  ASSERT_TRUE(added.ok()) << added.ToString();
  ASSERT_TRUE(AddProcess(layout_, name_ + "/pod/ctr", first->pid()).ok());
  auto pids = ListProcesses(layout_, name_);
  ASSERT_TRUE(pids.ok());
  EXPECT_GE(pids->size(), 2U);
  EXPECT_EQ(RemoveCgroup(layout_, name_).code(), StatusCode::kFailedPrecondition);

  auto detail = CgroupStatsReader(layout_).ReadDetail(name_ + "/pod");
  ASSERT_TRUE(detail.ok());
  EXPECT_TRUE(detail->stats.cpu_usage_nanos.has_value());
  EXPECT_TRUE(detail->stats.memory_usage_bytes.has_value());
  EXPECT_EQ(detail->stats.memory_limit_bytes, std::nullopt);
  EXPECT_GE(detail->stats.pids.value_or(0), 2U);

  ASSERT_TRUE(first->Signal(SIGKILL).ok());
  ASSERT_TRUE(first->Reap(Deadline::Infinite()).ok());
  Status killed = KillCgroup(layout_, name_, Deadline::After(std::chrono::seconds(30)));
  EXPECT_TRUE(killed.ok()) << killed.ToString();
  auto exit = second->Reap(Deadline::Infinite());
  ASSERT_TRUE(exit.ok());
  EXPECT_EQ(exit->code, 137);
  Status removed = RemoveCgroup(layout_, name_);
  EXPECT_TRUE(removed.ok()) << removed.ToString();
  EXPECT_FALSE(CgroupExists(layout_, name_));
}

TEST_F(RootCgroupTest, AddToAMissingCgroupIsNotFound) {
  EXPECT_EQ(AddProcess(layout_, name_, ::getpid()).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::sys
