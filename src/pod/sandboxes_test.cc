#include "pod/sandboxes.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "network/fake_network.h"
#include "sys/atomic_file.h"
#include "sys/mounts.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::pod {
namespace {

class SandboxesTest : public ::testing::Test {
 protected:
  SandboxesTest() : sandboxes_({{dir_.path()}, "/nonexistent/davit-init"}, network_, *sys::CgroupLayout::Detect()) {
    record_.id = PodId::Mint();
    record_.spec.name = "web";
    record_.spec.uid = "uid-1";
    record_.spec.pid = NamespaceMode::kContainer;
  }
  Result<PodRecord> PlanAndRun() {
    ASSIGN_OR_RETURN(record_, sandboxes_.Plan(record_));
    return sandboxes_.Run(record_, Deadline::After(std::chrono::seconds(30)));
  }
  Status Destroy(const PodRecord& record) {
    return sandboxes_.Destroy(record, Deadline::After(std::chrono::seconds(30)));
  }

  sys::TempDir dir_;
  network::FakeNetwork network_;
  Sandboxes sandboxes_;
  PodRecord record_;
};

TEST_F(SandboxesTest, PlanFillsNamesAndMakesNothing) {
  Result<PodRecord> planned = sandboxes_.Plan(record_);
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  EXPECT_EQ(planned->hostname, record_.id.str().substr(0, 12));
  EXPECT_EQ(planned->cgroup, "/davit-pod-" + record_.id.str());
  EXPECT_TRUE(planned->owns_cgroup);
  EXPECT_FALSE(planned->attachment.empty());
  EXPECT_NE(::access((dir_.path() + "/pods").c_str(), F_OK), 0);
}

TEST_F(SandboxesTest, UnderSystemdAPodIsASlice) {
  Sandboxes sandboxes({{dir_.path()}, "/nonexistent/davit-init", std::chrono::seconds(60), true}, network_,
                      *sys::CgroupLayout::Detect());
  Result<PodRecord> own = sandboxes.Plan(record_);
  ASSERT_TRUE(own.ok()) << own.status().ToString();
  EXPECT_EQ(own->cgroup, "/davit.slice/davit-pod" + record_.id.str() + ".slice");
  EXPECT_TRUE(own->owns_cgroup);
  record_.spec.cgroup_parent = "kubepods-pod1.slice";
  Result<PodRecord> given = sandboxes.Plan(record_);
  ASSERT_TRUE(given.ok()) << given.status().ToString();
  EXPECT_EQ(given->cgroup, "/kubepods.slice/kubepods-pod1.slice");
  EXPECT_FALSE(given->owns_cgroup) << "the client's slice";
  record_.spec.cgroup_parent = "/kubepods/pod1";
  Status refused = sandboxes.Plan(record_).status();
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("linux.cgroup_parent"), std::string::npos) << refused.message();
}

TEST_F(SandboxesTest, PlanNamesTheBadField) {
  auto expect = [&](const PodSpec& spec, const std::string& field) {
    PodRecord record = record_;
    record.spec = spec;
    Status status = sandboxes_.Plan(record).status();
    EXPECT_FALSE(status.ok()) << field;
    EXPECT_NE(status.message().find(field), std::string::npos) << status.message();
  };
  PodSpec spec = record_.spec;
  spec.name.clear();
  expect(spec, "metadata.name");
  spec = record_.spec;
  spec.hostname = "a b";
  expect(spec, "hostname");
  spec = record_.spec;
  spec.cgroup_parent = "/a/../..";
  expect(spec, "cgroup_parent");
  spec.cgroup_parent = "/test.slice";
  expect(spec, "cgroup_parent");
  spec = record_.spec;
  spec.sysctls["kernel.core_pattern"] = "x";
  expect(spec, "kernel.core_pattern");
  spec = record_.spec;
  spec.log_directory = "logs";
  expect(spec, "log_directory");
  spec = record_.spec;
  spec.ipc = NamespaceMode::kContainer;
  expect(spec, "ipc");
}

TEST_F(SandboxesTest, APodOnTheNodesNetworkIsNotAttached) {
  record_.spec.network = NamespaceMode::kNode;
  Result<PodRecord> planned = sandboxes_.Plan(record_);
  ASSERT_TRUE(planned.ok());
  EXPECT_TRUE(planned->attachment.empty());
}

using RootSandboxesTest = SandboxesTest;

TEST_F(RootSandboxesTest, RunPinsNamespacesAndDestroyLeavesNothing) {
  record_.spec.hostname = "web-0";
  record_.spec.sysctls["kernel.shm_rmid_forced"] = "1";
  Result<PodRecord> made = PlanAndRun();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_FALSE(made->ips.empty());
  for (const char* kind : {"net", "ipc", "uts"}) {
    EXPECT_TRUE(*sys::IsMountPoint(sandboxes_.paths().Namespace(made->id, kind))) << kind;
  }
  EXPECT_TRUE(sandboxes_.Alive(*made));
  EXPECT_EQ(*sys::ReadFile(sandboxes_.paths().Files(made->id) + "/hostname", 100), "web-0\n");

  ASSERT_TRUE(Destroy(*made).ok());
  EXPECT_TRUE(Destroy(*made).ok()) << "not idempotent";
  EXPECT_NE(::access(sandboxes_.paths().Directory(made->id).c_str(), F_OK), 0);
  EXPECT_TRUE(network_.attached().empty());
}

TEST_F(RootSandboxesTest, AFailedAttachIsUndoneFromTheRecord) {
  network_.fail_attach = Unavailable("plugin says later");
  Result<PodRecord> made = PlanAndRun();
  EXPECT_EQ(made.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(Destroy(record_).ok());
  EXPECT_NE(::access(sandboxes_.paths().Directory(record_.id).c_str(), F_OK), 0);
}

TEST_F(RootSandboxesTest, ARefusedSysctlIsTheRequestersError) {
  record_.spec.sysctls["kernel.shm_rmid_forced"] = "maybe";
  EXPECT_EQ(PlanAndRun().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(Destroy(record_).ok());
}

TEST_F(RootSandboxesTest, AStopThatCannotDetachKeepsTheAttachmentAsADebt) {
  Result<PodRecord> made = PlanAndRun();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  network_.fail_detach = Internal("plugin crashed");
  Result<PodRecord> stopped = sandboxes_.Stop(*made, Deadline::After(std::chrono::seconds(30)));
  ASSERT_TRUE(stopped.ok());
  EXPECT_FALSE(stopped->attachment.empty());
  EXPECT_FALSE(Destroy(*stopped).ok());
  network_.fail_detach.reset();
  EXPECT_TRUE(Destroy(*stopped).ok());
}

}  // namespace
}  // namespace davit::pod
