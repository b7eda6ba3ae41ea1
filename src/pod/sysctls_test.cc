#include "pod/sysctls.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cerrno>

#include "sys/namespaces.h"

namespace davit::pod {
namespace {

Status Validate(const std::string& name, const std::string& value = "1", NamespaceMode network = NamespaceMode::kPod,
                NamespaceMode ipc = NamespaceMode::kPod) {
  PodSpec spec;
  spec.network = network;
  spec.ipc = ipc;
  spec.sysctls[name] = value;
  return ValidateSysctls(spec);
}

TEST(SysctlsTest, TakesWhatTheKernelKeepsForEachNamespace) {
  for (const char* good : {"net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/forwarding", "kernel.shm_rmid_forced",
                           "kernel.msgmax", "kernel.sem", "fs.mqueue.msg_max"}) {
    EXPECT_TRUE(Validate(good).ok()) << good;
  }
  for (const char* bad :
       {"kernel.core_pattern", "vm.swappiness", "kernel.semx", "fs.file-max", "", "netx.y", "kernel.hostname"}) {
    EXPECT_EQ(Validate(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SysctlsTest, RefusesTheNodesNamespaces) {
  EXPECT_FALSE(Validate("net.ipv4.ip_forward", "1", NamespaceMode::kNode).ok());
  EXPECT_TRUE(Validate("kernel.sem", "1", NamespaceMode::kNode).ok());
  EXPECT_FALSE(Validate("kernel.sem", "1", NamespaceMode::kPod, NamespaceMode::kNode).ok());
}

TEST(SysctlsTest, ValuesAreOneLineOfText) {
  EXPECT_TRUE(Validate("net.ipv4.ping_group_range", "0\t2147483647").ok());
  EXPECT_FALSE(Validate("net.ipv4.ip_forward", "").ok());
  EXPECT_FALSE(Validate("net.ipv4.ip_forward", "1\nx").ok());
  EXPECT_FALSE(Validate("net.ipv4.ip_forward", std::string(5000, '1')).ok());
}

TEST(RootSysctlsTest, AValueThatSmugglesASecondSettingIsTheKernelsToRefuse) {
  // CVE-2022-0811: "1+kernel.core_pattern=|/x" must reach one file, and that file does not take it.
  PodSpec spec;
  spec.sysctls["kernel.shm_rmid_forced"] = "1+kernel.core_pattern=|/davit-test";
  EXPECT_TRUE(ValidateSysctls(spec).ok());
  // In an IPC namespace of its own: were it taken after all, the node's stays what it is.
  Status applied = sys::InThread([&]() -> Status {
    if (::unshare(CLONE_NEWIPC) != 0) return ErrnoError(errno, "unshare");
    return ApplySysctls(spec);
  });
  EXPECT_EQ(applied.code(), StatusCode::kInvalidArgument) << applied.ToString();
}

}  // namespace
}  // namespace davit::pod
