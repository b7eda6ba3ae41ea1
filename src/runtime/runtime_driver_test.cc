#include "runtime/runtime_driver.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <memory>

#include "base/ids.h"
#include "base/strings.h"
#include "oci/runtime_spec.h"
#include "sys/atomic_file.h"
#include "sys/cgroup.h"
#include "sys/mounts.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

class TempDirectory {
 public:
  TempDirectory() : path_(::testing::TempDir() + "davit-runtime-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~TempDirectory() { IgnoreError(sys::RemoveTree(path_)); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(RuntimeArgvTest, Create) {
  RuntimeDriver driver({"crun", "/usr/bin/crun", "/run/davit/runtime/crun", CgroupDriver::kCgroupfs});
  EXPECT_THAT(
      driver.CreateArgv("id", "/b", "/b/pid", "/b/console.sock", "/b/log"),
      ElementsAre("/usr/bin/crun", "--root", "/run/davit/runtime/crun", "--log", "/b/log", "--log-format", "json",
                  "create", "--bundle", "/b", "--pid-file", "/b/pid", "--console-socket", "/b/console.sock", "id"));
  EXPECT_THAT(driver.CreateArgv("id", "/b", "/b/pid", "", ""),
              ElementsAre("/usr/bin/crun", "--root", "/run/davit/runtime/crun", "--log-format", "json", "create",
                          "--bundle", "/b", "--pid-file", "/b/pid", "id"));
}

TEST(RuntimeArgvTest, TheAdministratorsOptionsStandBeforeTheVerb) {
  RuntimeDriver driver({"runsc", "/r", "/root", CgroupDriver::kCgroupfs, {"--network=host"}});
  EXPECT_THAT(driver.StartArgv("id", ""),
              ElementsAre("/r", "--root", "/root", "--network=host", "--log-format", "json", "start", "id"));
}

TEST(RuntimeArgvTest, StartAndExecWithSystemdCgroups) {
  RuntimeDriver driver({"runc", "/r", "/root", CgroupDriver::kSystemd});
  EXPECT_THAT(driver.StartArgv("id", "/log"), ElementsAre("/r", "--root", "/root", "--systemd-cgroup", "--log", "/log",
                                                          "--log-format", "json", "start", "id"));
  EXPECT_THAT(driver.ExecArgv("id", "/p.json", "/pid", "/s", ""),
              ElementsAre("/r", "--root", "/root", "--systemd-cgroup", "--log-format", "json", "exec", "--detach",
                          "--process", "/p.json", "--pid-file", "/pid", "--console-socket", "/s", "id"));
}

TEST(HybridRemedyTest, NamesControllersAndTheAlternative) {
  EXPECT_EQ(HybridRemedy(""), "");
  EXPECT_EQ(HybridRemedy("\n"), "");
  std::string remedy = HybridRemedy("hugetlb io\n");
  EXPECT_THAT(remedy, HasSubstr("(hugetlb, io)"));
  EXPECT_THAT(remedy, HasSubstr("mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb"));
  EXPECT_THAT(remedy, HasSubstr("-o blkio"));
  EXPECT_THAT(remedy, HasSubstr("use runc"));
}

TEST(RuntimeFeaturesTest, ParsesWhatRuntimesSay) {
  auto features = ParseFeatures(R"({"ociVersionMin":"1.0.0","mountOptions":["ro","rro"],
    "linux":{"namespaces":["pid","user"],"seccomp":{"enabled":true},"apparmor":{"enabled":true},"selinux":{"enabled":false},
    "mountExtensions":{"idmap":{"enabled":true}}},"potentiallyUnsafeConfigAnnotations":["run.oci."]})");
  ASSERT_TRUE(features.ok()) << features.status().ToString();
  EXPECT_TRUE(features->known);
  EXPECT_TRUE(features->recursive_read_only_mounts);
  EXPECT_TRUE(features->idmap_mounts);
  EXPECT_TRUE(features->user_namespaces);
  EXPECT_TRUE(features->seccomp);
  EXPECT_TRUE(features->seccomp_bpf) << "all of run.oci.*";
  EXPECT_TRUE(features->apparmor);
  EXPECT_FALSE(features->selinux);
  EXPECT_THAT(features->unsafe_annotations, ElementsAre("run.oci."));
}

TEST(RuntimeFeaturesTest, MissingMeansNo) {
  auto features = ParseFeatures(R"({"linux":null})");
  ASSERT_TRUE(features.ok());
  EXPECT_FALSE(features->recursive_read_only_mounts || features->idmap_mounts || features->user_namespaces);
  features = ParseFeatures(R"({"linux":{"seccomp":{"enabled":true}},"potentiallyUnsafeConfigAnnotations":["bundle"]})");
  ASSERT_TRUE(features.ok());
  EXPECT_TRUE(features->seccomp && !features->seccomp_bpf) << "runc";
  EXPECT_FALSE(ParseFeatures("unknown command").ok());
  EXPECT_FALSE(ParseFeatures("[]").ok());
}

TEST(RuntimeFeaturesTest, OldCrunIsKnownByItsVersion) {
  RuntimeFeatures features =
      FeaturesOfCrunVersion("crun version 1.8.1\ncommit: x\n+SYSTEMD +SELINUX +CAP +SECCOMP +EBPF\n");
  EXPECT_TRUE(features.known && features.recursive_read_only_mounts && features.idmap_mounts &&
              features.user_namespaces);
  EXPECT_TRUE(features.seccomp && features.seccomp_bpf && features.selinux);
  EXPECT_FALSE(features.apparmor);
  for (const char* text :
       {"", "crun version ", "crun version 1.7", "crun version 0.21", "crun version x.y", "runc version 1.8.1"}) {
    EXPECT_FALSE(FeaturesOfCrunVersion(text).known) << text;
  }
}

// A runtime whose answers the test writes: it records its arguments and plays a script.
class FakeRuntimeTest : public ::testing::Test {
 protected:
  RuntimeDriver Make(const std::string& script) {
    std::string program = directory_.path() + "/fake";
    std::string text = fmt::format("#!/bin/sh\necho \"$@\" > {}/args\n{}\n", directory_.path(), script);
    EXPECT_TRUE(sys::WriteFileAtomic(program, text, 0700, sys::Durability::kAtomic).ok());
    return RuntimeDriver({"fake", program, directory_.path() + "/root", CgroupDriver::kCgroupfs});
  }
  [[nodiscard]] std::string Arguments() const { return sys::ReadFile(directory_.path() + "/args", 4096).value_or(""); }
  void MakeState(const std::string& id) {
    ASSERT_TRUE(sys::MakeDirectories(directory_.path() + "/root/" + id, 0700).ok());
  }

  TempDirectory directory_;
};

TEST_F(FakeRuntimeTest, DeleteIsOkWhenTheContainerIsUnknown) {
  auto driver = Make(R"(echo '{"level":"error","msg":"cannot open directory"}' >&2; exit 1)");
  EXPECT_EQ(driver.Delete("c1", true, Soon()), Status());
  EXPECT_THAT(Arguments(), HasSubstr("--log-format json delete --force c1"));
}

TEST_F(FakeRuntimeTest, DeleteReportsTheRuntimesError) {
  auto driver = Make(R"(echo '{"level":"error","msg":"cgroup busy"}' >&2; exit 1)");
  MakeState("c1");
  Status status = driver.Delete("c1", false, Soon());
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_EQ(status.message(), "fake delete c1: cgroup busy");
}

TEST_F(FakeRuntimeTest, DeleteOfARunningContainerIsAPrecondition) {
  MakeState("c1");
  auto runc_like =
      Make(R"(echo '{"level":"error","msg":"cannot delete container c1 that is not stopped: running"}' >&2; exit 1)");
  EXPECT_EQ(runc_like.Delete("c1", false, Soon()).code(), StatusCode::kFailedPrecondition);
  auto crun_like = Make(
      "echo '{\"msg\":\"the container `c1` is not in `created` or `stopped` state\",\"level\":\"error\"}' >&2; exit 1");
  EXPECT_EQ(crun_like.Delete("c1", false, Soon()).code(), StatusCode::kFailedPrecondition);
}

TEST_F(FakeRuntimeTest, UpdateSendsTheResources) {
  auto driver = Make(fmt::format("cat > {}/stdin", directory_.path()));
  EXPECT_EQ(driver.Update("c1", R"({"cpu":{"shares":2}})", Soon()), Status());
  EXPECT_EQ(*sys::ReadFile(directory_.path() + "/stdin", 100), R"({"cpu":{"shares":2}})");
  EXPECT_THAT(Arguments(), HasSubstr("update --resources - c1"));
  auto unknown = Make("exit 1");
  EXPECT_EQ(unknown.Update("c1", "{}", Soon()).code(), StatusCode::kNotFound);
}

TEST_F(FakeRuntimeTest, KillSendsTheNumber) {
  auto driver = Make("");
  EXPECT_EQ(driver.Kill("c1", SIGTERM, true, Soon()), Status());
  EXPECT_THAT(Arguments(), HasSubstr("kill --all c1 15"));
}

TEST_F(FakeRuntimeTest, TheDeadlineEndsAStuckRuntime) {
  auto driver = Make("exec tail -f /dev/null");
  MakeState("c1");
  Status status = driver.Delete("c1", true, Deadline::After(std::chrono::milliseconds(50)));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("fake delete c1"));
}

TEST_F(FakeRuntimeTest, FeaturesOfARuntimeWithoutTheCommand) {
  auto driver =
      Make("[ $1 = --version ] && echo fake version 2.0 && exit; echo 'unknown command features' >&2; exit 1");
  auto features = driver.Features(Soon());
  ASSERT_TRUE(features.ok()) << features.status().ToString();
  EXPECT_FALSE(features->known);
}

TEST_F(FakeRuntimeTest, ProbeExplains) {
  auto driver = Make("echo fake version 1; echo commit: x");
  EXPECT_EQ(driver.Probe(Soon()), Status());
  EXPECT_EQ(*driver.Version(Soon()), "fake version 1");
  EXPECT_EQ(Make("exit 3").Probe(Soon()).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(RuntimeDriver({"x", "", ""}).Probe(Soon()).code(), StatusCode::kNotFound);
  Status missing = RuntimeDriver({"x", directory_.path() + "/none", ""}).Probe(Soon());
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("runtime handler x: "));
  EXPECT_EQ(RuntimeDriver({"x", directory_.path(), ""}).Probe(Soon()).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(RuntimeDriver({"x", directory_.path() + "/none", ""}).Delete("c", true, Soon()).code(),
            StatusCode::kFailedPrecondition);
}

// The real runtimes, with a container of busybox.
class RootRuntimeTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to make namespaces and cgroups";
    // Like the monitor: an exec'd process that nobody reaps keeps its PID namespace, and so the
    // container's first process, from ending.
    ASSERT_EQ(sys::BecomeSubreaper(), Status());
    if (::access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "needs a static /bin/busybox";
    std::string program = "/usr/bin/" + GetParam();
    if (::access(program.c_str(), X_OK) != 0) program = "/usr/sbin/" + GetParam();
    if (GetParam() == "native") program = DAVIT_OCI_BINARY;
    driver_ = std::make_unique<RuntimeDriver>(
        RuntimeHandler{GetParam(), program, directory_.path() + "/state", CgroupDriver::kCgroupfs});
    if (Status status = driver_->Probe(Soon()); !status.ok()) {
      driver_.reset();
      GTEST_SKIP() << status.ToString();
    }
    for (const char* name : {"bin", "proc", "sys", "dev", "out"}) {
      ASSERT_TRUE(sys::MakeDirectories(fmt::format("{}/rootfs/{}", directory_.path(), name), 0755).ok());
    }
    ASSERT_TRUE(sys::MakeDirectories(directory_.path() + "/out", 0777).ok());
    ASSERT_EQ(::chmod((directory_.path() + "/out").c_str(), 0777), 0);
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
    auto busybox = sys::ReadFile("/bin/busybox", 16u << 20);
    ASSERT_TRUE(busybox.ok());
    ASSERT_TRUE(
        sys::WriteFileAtomic(directory_.path() + "/rootfs/bin/busybox", *busybox, 0755, sys::Durability::kAtomic).ok());
  }

  void TearDown() override {
    if (driver_ == nullptr) return;
    EXPECT_EQ(driver_->Delete(id_, true, Soon()), Status());
    if (auto layout = sys::CgroupLayout::Detect(); layout.ok()) {
      EXPECT_EQ(sys::RemoveCgroup(*layout, cgroup_), Status());
    }
  }

  [[nodiscard]] oci::RuntimeSpec Spec(const std::string& script) const {
    oci::RuntimeSpec spec;
    spec.process.args = {"/bin/busybox", "sh", "-c", script};
    spec.process.env = {"PATH=/bin", "MARK=a\"b"};
    spec.process.user = {1000, 50, {}, {77}};
    auto names = oci::DefaultCapabilities();
    spec.process.capabilities = oci::CapabilitySets{names, {}, {}, {}, {}};
    spec.process.no_new_privileges = true;
    spec.root.path = directory_.path() + "/rootfs";
    spec.hostname = "davit-test";
    spec.mounts = oci::DefaultMounts();
    spec.mounts.push_back({"/out", "bind", directory_.path() + "/out", {"bind", "rw"}, {}, {}});
    for (const char* type : {"pid", "mount", "ipc", "uts", "network"}) spec.linux_.namespaces.push_back({type, ""});
    spec.linux_.resources.devices = oci::DefaultDeviceRules();
    spec.linux_.resources.pids_limit = 64;
    spec.linux_.resources.memory.limit = 256 << 20;
    spec.linux_.cgroups_path = cgroup_ + "/" + id_;
    spec.linux_.masked_paths = oci::DefaultMaskedPaths();
    spec.linux_.readonly_paths = oci::DefaultReadonlyPaths();
    return spec;
  }

  // Runs an argv as the monitor does, without stdio; the runtime's own words come from its log.
  Status Call(const std::vector<std::string>& argv) {
    sys::SpawnOptions options;
    options.argv = argv;
    options.env = sys::MinimalEnvironment();
    ASSIGN_OR_RETURN(sys::PidFd process, sys::Spawn(options));
    ASSIGN_OR_RETURN(sys::ExitStatus exit, process.Reap(Soon()));
    return exit.code == 0 ? Status() : Internal(fmt::format("exit {}: {}", exit.code, ReadRuntimeError(log_)));
  }

  Status Create(const oci::RuntimeSpec& spec) {
    RETURN_IF_ERROR(
        sys::WriteFileAtomic(directory_.path() + "/config.json", oci::ToJson(spec), 0600, sys::Durability::kAtomic));
    return Call(driver_->CreateArgv(id_, directory_.path(), pid_file_, "", log_));
  }

  Result<sys::PidFd> Process(const std::string& pid_file) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(pid_file, 32));
    return sys::PidFd::Open(static_cast<pid_t>(ParseUint64(Trim(text)).value_or(0)));
  }

  std::string Out(const std::string& name) {
    return sys::ReadFile(directory_.path() + "/out/" + name, 65536).value_or("(none)");
  }

  TempDirectory directory_;
  std::unique_ptr<RuntimeDriver> driver_;
  std::string id_ = MintId();
  std::string cgroup_ = fmt::format("/davit-runtime-test-{}", ::getpid());
  std::string pid_file_ = directory_.path() + "/pid";
  std::string log_ = directory_.path() + "/log";
};

TEST_P(RootRuntimeTest, RunsAContainerAsTheSpecSays) {
  ASSERT_EQ(
      Create(
          Spec("cd /out; busybox id > id; busybox hostname > name; echo $MARK > mark;"
               "busybox grep -E 'Cap(Inh|Prm|Eff|Amb)|NoNewPrivs' /proc/self/status > status;"
               "busybox wc -c < /proc/keys > keys; echo x > /sys/x; busybox touch /proc/sys/kernel/x || echo ro > ro")),
      Status());
  auto process = Process(pid_file_);
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  ASSERT_EQ(Call(driver_->StartArgv(id_, log_)), Status());
  ASSERT_TRUE(process->Reap(Soon()).ok());
  EXPECT_EQ(Out("id"), "uid=1000 gid=50 groups=77\n");
  EXPECT_EQ(Out("name"), "davit-test\n");
  EXPECT_EQ(Out("mark"), "a\"b\n");
  EXPECT_EQ(
      Out("status"),
      "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"
      "NoNewPrivs:\t1\n");
  EXPECT_EQ(Out("keys"), "0\n");
  EXPECT_EQ(Out("ro"), "ro\n");
}

TEST_P(RootRuntimeTest, ExecsUpdatesAndRefusesToDeleteWhatRuns) {
  ASSERT_EQ(Create(Spec("exec busybox sleep 1000")), Status());
  ASSERT_EQ(Call(driver_->StartArgv(id_, log_)), Status());
  oci::Process process = Spec("echo $MARK $(busybox id -u) > /out/exec").process;
  std::string process_file = directory_.path() + "/process.json";
  std::string exec_pid = directory_.path() + "/exec.pid";
  ASSERT_TRUE(sys::WriteFileAtomic(process_file, oci::ToJson(process), 0600, sys::Durability::kAtomic).ok());
  ASSERT_EQ(Call(driver_->ExecArgv(id_, process_file, exec_pid, "", log_)), Status());
  if (auto running = Process(exec_pid); running.ok()) {
    EXPECT_TRUE(running->Reap(Soon()).ok());
  }
  EXPECT_EQ(Out("exec"), "a\"b 1000\n");

  oci::Resources resources;
  resources.pids_limit = 32;
  resources.memory.limit = 128 << 20;
  EXPECT_EQ(driver_->Update(id_, oci::ToJson(resources), Soon()), Status());
  auto layout = sys::CgroupLayout::Detect();
  ASSERT_TRUE(layout.ok());
  auto pids = layout->Directory("pids", cgroup_ + "/" + id_);
  ASSERT_TRUE(pids.has_value());
  EXPECT_EQ(sys::ReadFile(*pids + "/pids.max", 64).value_or(""), "32\n");

  EXPECT_EQ(driver_->Delete(id_, false, Soon()).code(), StatusCode::kFailedPrecondition);
  auto init = Process(pid_file_);
  ASSERT_TRUE(init.ok());
  EXPECT_EQ(driver_->Kill(id_, SIGKILL, false, Soon()), Status());
  EXPECT_EQ(init->Reap(Soon())->signal, SIGKILL);
}

TEST_P(RootRuntimeTest, RecursiveReadOnlyIsWhatFeaturesPromise) {
  auto features = driver_->Features(Soon());
  ASSERT_TRUE(features.ok());
  if (!features->recursive_read_only_mounts) GTEST_SKIP() << "this runtime has no recursive read-only mounts";
  std::string tree = directory_.path() + "/tree";
  ASSERT_TRUE(sys::MakeDirectories(tree + "/below", 0777).ok());
  ASSERT_EQ(sys::Mount("tmpfs", tree + "/below", "tmpfs", 0, "mode=1777"), Status());
  oci::RuntimeSpec spec = Spec("busybox touch /tree/below/x; echo $? > /out/touch");
  spec.mounts.push_back({"/tree", "bind", tree, {"rbind", "rro"}, {}, {}});
  Status status = Create(spec);
  EXPECT_EQ(sys::Unmount(tree + "/below"), Status());
  ASSERT_EQ(status, Status());
  auto process = Process(pid_file_);
  ASSERT_TRUE(process.ok());
  ASSERT_EQ(Call(driver_->StartArgv(id_, log_)), Status());
  ASSERT_TRUE(process->Reap(Soon()).ok());
  EXPECT_EQ(Out("touch"), "1\n");
}

TEST_P(RootRuntimeTest, TheLogSaysWhyCreateFailed) {
  oci::RuntimeSpec spec = Spec("");
  spec.process.args = {"/bin/no-such-program"};
  Status status = Create(spec);
  if (status.ok()) status = Call(driver_->StartArgv(id_, log_));
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("no-such-program"));
}

TEST_P(RootRuntimeTest, UnknownContainers) {
  EXPECT_EQ(driver_->Delete(id_, false, Soon()), Status());
  EXPECT_EQ(driver_->Delete(id_, true, Soon()), Status());
  EXPECT_EQ(driver_->Update(id_, "{}", Soon()).code(), StatusCode::kNotFound);
  EXPECT_EQ(driver_->Kill(id_, SIGTERM, false, Soon()).code(), StatusCode::kNotFound);
}

TEST_P(RootRuntimeTest, SaysItsVersionAndFeatures) {
  EXPECT_THAT(*driver_->Version(Soon()), HasSubstr(GetParam() == "native" ? "davit-oci" : GetParam()));
  auto features = driver_->Features(Soon());
  ASSERT_TRUE(features.ok()) << features.status().ToString();
  EXPECT_TRUE(features->known && features->user_namespaces && features->recursive_read_only_mounts);
}

INSTANTIATE_TEST_SUITE_P(Root, RootRuntimeTest, ::testing::Values("crun", "runc", "native"));

}  // namespace
}  // namespace davit::runtime
