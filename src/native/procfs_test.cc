#include "native/procfs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "native/namespaces.h"

namespace davit::native {
namespace {

TEST(ProcfsTest, OpensFilesAndNoLinks) {
  Result<Procfs> procfs = Procfs::Open();
  ASSERT_TRUE(procfs.ok());
  EXPECT_TRUE(procfs->OpenFile("sys/kernel/ostype", O_RDONLY).ok());
  EXPECT_TRUE(procfs->OpenOwn("status", O_RDONLY).ok());
  EXPECT_FALSE(procfs->OpenFile("self/status", O_RDONLY).ok()) << "a link";
  EXPECT_FALSE(procfs->OpenOwn("root/etc", O_RDONLY).ok()) << "a magic link";
  EXPECT_FALSE(procfs->OpenFile("../etc/passwd", O_RDONLY).ok());
  EXPECT_FALSE(procfs->OpenFile("/etc/passwd", O_RDONLY).ok());
}

TEST(ProcfsTest, OpensADescriptorAgain) {
  Result<Procfs> procfs = Procfs::Open();
  sys::UniqueFd path(::open("/etc/passwd", O_PATH | O_CLOEXEC));
  Result<sys::UniqueFd> file = procfs->Reopen(path.get(), O_RDONLY);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_TRUE(sys::ReadAll(file->get(), 1 << 20).ok());
}

TEST(ProcfsTest, NamesOfSysctls) {
  EXPECT_EQ(*SysctlPath("net.ipv4.conf.eth0/1.rp_filter"), "net/ipv4/conf/eth0.1/rp_filter");
  EXPECT_EQ(*SysctlPath("net/ipv4/conf/eth0.1/rp_filter"), "net/ipv4/conf/eth0.1/rp_filter");
  for (const char* bad : {"", ".", "kernel..x", "/kernel/x", "kernel/../x", "a b", "kernel.shmmax\n", "../x"}) {
    EXPECT_FALSE(SysctlPath(bad).ok()) << bad;
  }
}

TEST(NamespacePlanTest, KnowsWhenAProcessInBetweenIsNeeded) {
  oci::Linux linux_part;
  linux_part.namespaces = {{"mount", ""}, {"pid", ""}, {"user", ""}, {"cgroup", ""}, {"uts", ""}};
  EXPECT_FALSE(PlanNamespaces(linux_part)->NeedsBetween());
  linux_part.namespaces.push_back({"network", "/proc/self/ns/net"});
  EXPECT_TRUE(PlanNamespaces(linux_part)->NeedsBetween()) << "the node's cannot be joined from a new user namespace";
  linux_part.namespaces[2] = {"ipc", ""};
  EXPECT_FALSE(PlanNamespaces(linux_part)->NeedsBetween());
  linux_part.namespaces[1] = {"pid", "/proc/self/ns/pid"};
  EXPECT_TRUE(PlanNamespaces(linux_part)->NeedsBetween());
}

TEST(NamespacePlanTest, RefusesTwoOfAKindAndUnknownOnes) {
  oci::Linux linux_part;
  linux_part.namespaces = {{"mount", ""}, {"mount", ""}};
  EXPECT_EQ(PlanNamespaces(linux_part).status().message(), "linux.namespaces[1]: a second mount namespace");
  linux_part.namespaces = {{"netwrok", ""}};
  EXPECT_FALSE(PlanNamespaces(linux_part).ok());
  linux_part.namespaces = {{"user", "/proc/self/ns/user"}};
  EXPECT_FALSE(PlanNamespaces(linux_part)->Joins(0x10000000)) << "one's own cannot be joined and need not be";
}

}  // namespace
}  // namespace davit::native
