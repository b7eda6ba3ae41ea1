#include "container/runtime_spec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "container/seccomp_bpf.h"
#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::container {
namespace {

class RuntimeSpecTest : public ::testing::Test {
 protected:
  RuntimeSpecTest() {
    node.capabilities = {"CAP_CHOWN"};
    node.default_capabilities = {"CAP_CHOWN"};
    node.oom_score_adj = 100;
    image.entrypoint = {"/entry"};
    image.cmd = {"default"};
    image.env = {"A=image", "B=image", "malformed"};
    record.spec.name = "c";
    record.spec.image.image = "busybox";
    record.cgroup = "/pod/ctr";
    pod.hostname = "host1";
  }
  Result<oci::RuntimeSpec> Build() {
    SpecInputs inputs;
    inputs.record = &record;
    inputs.image = &image;
    inputs.pod = &pod;
    inputs.node = &node;
    inputs.rootfs = "/rootfs";
    ASSIGN_OR_RETURN(RuntimePlan plan, BuildRuntimeSpec(inputs));
    return std::move(plan.spec);
  }
  std::string Namespace(const oci::RuntimeSpec& spec, const std::string& type) {
    for (const oci::Namespace& ns : spec.linux_.namespaces) {
      if (ns.type == type) return ns.path.empty() ? "new" : ns.path;
    }
    return "node";
  }

  NodeLimits node;
  oci::ImageConfig image;
  ContainerRecord record;
  PodEnvironment pod;
};

TEST_F(RuntimeSpecTest, CommandReplacesEntrypointAndArgsReplaceCmd) {
  EXPECT_EQ(Build()->process.args, (std::vector<std::string>{"/entry", "default"}));
  record.spec.args = {"x"};
  EXPECT_EQ(Build()->process.args, (std::vector<std::string>{"/entry", "x"}));
  record.spec.command = {"/cmd"};
  EXPECT_EQ(Build()->process.args, (std::vector<std::string>{"/cmd", "x"}));
  record.spec.args.clear();
  EXPECT_EQ(Build()->process.args, (std::vector<std::string>{"/cmd"}));
}

TEST_F(RuntimeSpecTest, NoCommandAnywhereIsAnError) {
  image.entrypoint.clear();
  image.cmd.clear();
  EXPECT_EQ(Build().code(), StatusCode::kInvalidArgument);
}

TEST_F(RuntimeSpecTest, RequestedVariablesWinOverTheImages) {
  record.spec.envs = {{"B", "request"}};
  std::vector<std::string> env = Build()->process.env;
  auto count = [&](const std::string& entry) { return std::count(env.begin(), env.end(), entry); };
  EXPECT_EQ(count("A=image"), 1);
  EXPECT_EQ(count("B=request"), 1);
  EXPECT_EQ(count("B=image"), 0);
  EXPECT_EQ(count("HOSTNAME=host1"), 1);
}

TEST_F(RuntimeSpecTest, NamespacesComeFromThePod) {
  pod.network_namespace = "/ns/net";
  pod.ipc_namespace = "/ns/ipc";
  pod.pid_namespace = "/ns/pid";
  oci::RuntimeSpec spec = *Build();
  EXPECT_EQ(Namespace(spec, "network"), "/ns/net");
  EXPECT_EQ(Namespace(spec, "ipc"), "/ns/ipc");
  EXPECT_EQ(Namespace(spec, "uts"), "node");
  EXPECT_EQ(Namespace(spec, "pid"), "/ns/pid");
  EXPECT_EQ(Namespace(spec, "mount"), "new");
  record.spec.security.namespaces.pid = NamespaceMode::kContainer;
  EXPECT_EQ(Namespace(*Build(), "pid"), "new");
  record.spec.security.namespaces.pid = NamespaceMode::kNode;
  EXPECT_EQ(Namespace(*Build(), "pid"), "node");
}

TEST_F(RuntimeSpecTest, AScopeIsNamedInTheRuntimesNotation) {
  EXPECT_EQ(Build()->linux_.cgroups_path, "/pod/ctr");
  EXPECT_EQ(Build()->annotations.count("run.oci.systemd.subgroup"), 0u);
  record.cgroup = "/a.slice/a-b.slice/davit-12.scope";
  EXPECT_EQ(Build()->linux_.cgroups_path, "a-b.slice:davit:12");
  EXPECT_EQ(Build()->annotations.at("run.oci.systemd.subgroup"), "");
}

TEST_F(RuntimeSpecTest, OomScoreIsRaisedToWhatTheNodeAllows) {
  record.spec.resources.oom_score_adj = -998;
  EXPECT_EQ(Build()->process.oom_score_adj, 100);
  node.may_lower_oom_score_adj = true;
  EXPECT_EQ(Build()->process.oom_score_adj, -998);
}

TEST_F(RuntimeSpecTest, MaskedPathsAreTheDefaultsUnlessGivenAndNoneWhenPrivileged) {
  EXPECT_EQ(Build()->linux_.masked_paths, oci::DefaultMaskedPaths());
  record.spec.security.masked_paths = {"/proc/x"};
  EXPECT_EQ(Build()->linux_.masked_paths, std::vector<std::string>{"/proc/x"});
  record.spec.security.privileged = true;
  EXPECT_TRUE(Build()->linux_.masked_paths.empty());
}

TEST_F(RuntimeSpecTest, ValidationNamesTheField) {
  auto expect = [&](const std::string& field) {
    Status status = ValidateSpec(record.spec, pod, false);
    EXPECT_NE(status.message().find(field), std::string::npos) << field << " in " << status.ToString();
    EXPECT_FALSE(status.ok());
  };
  record.spec.name.clear();
  expect("metadata.name");
  record.spec.name = "c";
  record.spec.image.image.clear();
  expect("image.image");
  record.spec.image.image = "busybox";
  record.spec.log_path = "../../etc/passwd";
  expect("log_path");
  record.spec.log_path = "0.log";
  record.spec.working_dir = "relative";
  expect("working_dir");
  record.spec.working_dir.clear();
  record.spec.command = {std::string("a\0b", 3)};
  expect("command");
  record.spec.command.clear();
  record.spec.envs = {{"A=B", "x"}};
  expect("envs");
  record.spec.envs.clear();
  record.spec.security.privileged = true;
  expect("privileged");
}

TEST(ParseSignalTest, TakesNamesAndNumbersAndNothingElse) {
  EXPECT_EQ(*ParseSignal("SIGTERM"), 15);
  EXPECT_EQ(*ParseSignal("term"), 15);
  EXPECT_EQ(*ParseSignal("9"), 9);
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), 37);
  EXPECT_EQ(*ParseSignal("RTMAX-1"), 63);
  for (const char* bad : {"", "0", "65", "SIGFOO", "RTMIN-1", "RTMIN+99", "-9", "9x"}) {
    EXPECT_FALSE(ParseSignal(bad).ok()) << bad;
  }
}

TEST_F(RuntimeSpecTest, GroupsOfTheSpecificationStayBesideTheUsers) {
  oci::RuntimeSpec spec = *Build();
  spec.process.user.additional_gids = {44, 5};
  User user;
  user.groups = {0, 5};
  SetUser(spec, user);
  EXPECT_EQ(spec.process.user.additional_gids, (std::vector<uint32_t>{0, 5, 44}));
}

TEST_F(RuntimeSpecTest, ACompiledFilterComesBesideTheProfileAndOnlyWhereItIsTaken) {
  sys::TempDir dir;
  ASSERT_TRUE(
      sys::WriteFileAtomic(dir.At("p"), R"({"defaultAction":"SCMP_ACT_ALLOW"})", 0600, sys::Durability::kAtomic).ok());
  record.spec.security.seccomp = SecurityProfile{ProfileType::kLocalhost, dir.At("p")};
  node.seccomp_cache = std::make_shared<SeccompCache>();
  EXPECT_TRUE(Build()->annotations.empty());
  EXPECT_FALSE(Build()->linux_.seccomp.empty());
  SpecInputs inputs;
  inputs.record = &record;
  inputs.image = &image;
  inputs.pod = &pod;
  inputs.node = &node;
  inputs.seccomp_bpf = true;
  oci::RuntimeSpec spec = std::move(BuildRuntimeSpec(inputs)->spec);
  EXPECT_EQ(spec.annotations.count("run.oci.seccomp_bpf_data"), 1u);
  EXPECT_FALSE(spec.linux_.seccomp.empty());
}

TEST_F(RuntimeSpecTest, AnnotationsOfTheRequestNeverReachTheRuntime) {
  record.spec.annotations = {{"run.oci.seccomp_bpf_data", "AA=="}, {"umask.crio.io", "077"}};
  pod.annotations = record.spec.annotations;
  oci::RuntimeSpec spec = *Build();
  EXPECT_TRUE(spec.annotations.empty());
  EXPECT_FALSE(spec.process.user.umask.has_value());
}

TEST_F(RuntimeSpecTest, SelinuxWishesMeanNothingWhereItIsOff) {
  record.spec.security.selinux = SelinuxOptions{"any", "thing", "at", "all"};
  oci::RuntimeSpec spec = *Build();
  EXPECT_TRUE(spec.process.selinux_label.empty());
  EXPECT_TRUE(spec.linux_.mount_label.empty());
}

}  // namespace
}  // namespace davit::container
