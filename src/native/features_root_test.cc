// What the runtime-spec can ask for beside a plain container.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "native/native_fixture.h"
#include "sys/cgroup.h"
#include "sys/mounts.h"
#include "sys/namespaces.h"
#include "sys/unix_socket.h"
#include "sys/user_namespace.h"

namespace davit::native {
namespace {

using ::testing::HasSubstr;
using testing::NativeFixture;

class RootFeaturesTest : public NativeFixture {
 protected:
  std::string Volume() {
    std::string path = directory_ + "/volume";
    std::filesystem::create_directories(path + "/below");
    std::ofstream(path + "/file") << "from the volume\n";
    return path;
  }
  void Bind(const std::string& source, const std::string& target, std::vector<std::string> options) {
    spec_.mounts.push_back({target, "bind", source, std::move(options), {}, {}});
  }
};

TEST_F(RootFeaturesTest, BindMountsWithTheirOptions) {
  Bind(Volume(), "/data", {"rbind", "ro", "nosuid", "noexec"});
  Bind(Volume() + "/file", "/etc/one/file", {"bind"});
  EXPECT_EQ(Run("cat /data/file /etc/one/file; touch /data/x 2>&1 | cut -d: -f3; grep ' /data ' /proc/self/mountinfo | "
                "cut -d' ' -f6"),
            "from the volume\nfrom the volume\n Read-only file system\nro,nosuid,noexec,relatime\n");
}

TEST_F(RootFeaturesTest, RecursiveAttributesReachWhatIsBelow) {
  ASSERT_TRUE(sys::Mount("tmpfs", Volume() + "/below", "tmpfs", 0, "").ok());
  Bind(Volume(), "/one", {"rbind", "ro"});
  Bind(Volume(), "/all", {"rbind", "rro"});
  EXPECT_EQ(Run("touch /one/below/x && echo written; touch /all/below/y 2>&1 | cut -d: -f3"),
            "written\n Read-only file system\n");
  EXPECT_TRUE(sys::Unmount(Volume() + "/below").ok());
}

TEST_F(RootFeaturesTest, IdMapsAMount) {
  ::lchown((Volume() + "/file").c_str(), 0, 0);
  spec_.mounts.push_back({"/data", "bind", Volume(), {"bind", "idmap"}, {{0, 5000, 10}}, {{0, 6000, 10}}});
  EXPECT_EQ(Run("stat -c %u:%g /data/file"), "5000:6000\n");
}

TEST_F(RootFeaturesTest, CopiesUpIntoATmpfs) {
  std::filesystem::create_directories(Rootfs() + "/var/lib");
  WriteFile("var/lib/kept", "content", 0640);
  spec_.mounts.push_back({"/var/lib", "tmpfs", "tmpfs", {"tmpcopyup", "ro", "size=1m"}, {}, {}});
  EXPECT_EQ(Run("cat /var/lib/kept; stat -c %a /var/lib/kept; touch /var/lib/x 2>&1 | cut -d: -f3"),
            "content640\n Read-only file system\n");
}

TEST_F(RootFeaturesTest, PropagatesWhatIsMountedLater) {
  ASSERT_TRUE(sys::BindMount(Volume(), Volume(), false).ok());
  ASSERT_TRUE(sys::Mount("", Volume(), "", MS_SHARED, "").ok());
  spec_.linux_.rootfs_propagation = "rshared";
  Bind(Volume(), "/both", {"rbind", "rshared"});
  Bind(Volume(), "/in", {"rbind", "rslave"});
  Bind(Volume(), "/none", {"rbind", "rprivate"});
  spec_.process.capabilities->bounding.push_back("CAP_SYS_ADMIN");
  spec_.process.capabilities->permitted.push_back("CAP_SYS_ADMIN");
  spec_.process.capabilities->effective.push_back("CAP_SYS_ADMIN");
  EXPECT_EQ(Run("mount -t tmpfs t /both/below && touch /both/below/x; ls /in/below /none/below | tr '\\n' ' '"),
            "/in/below: x  /none/below: ");
  EXPECT_TRUE(std::filesystem::exists(Volume() + "/below/x")) << "shared with the node";
  EXPECT_TRUE(sys::Unmount(Volume() + "/below").ok());
  EXPECT_TRUE(sys::Unmount(Volume()).ok());
}

TEST_F(RootFeaturesTest, ReadOnlyRoot) {
  spec_.root.readonly = true;
  EXPECT_EQ(Run("touch /x 2>&1 | cut -d: -f3; touch /dev/shm/x && echo shm"), " Read-only file system\nshm\n");
}

TEST_F(RootFeaturesTest, WithoutPivot) {
  options_.no_pivot = true;
  EXPECT_EQ(Run("ls / | tr '\\n' ' '; ls /proc/1/root | tr '\\n' ' '"),
            "bin dev etc proc sys tmp bin dev etc proc sys tmp ");
}

TEST_F(RootFeaturesTest, SetsSysctlsOfItsNamespaces) {
  spec_.linux_.sysctl = {{"net.ipv4.ip_forward", "1"}, {"kernel.shmmax", "12345678"}};
  EXPECT_EQ(Run("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax"), "1\n12345678\n");
}

TEST_F(RootFeaturesTest, ShiftsTheClocks) {
  if (::access("/proc/self/ns/time", F_OK) != 0) GTEST_SKIP() << "no time namespaces";
  spec_.linux_.namespaces.push_back({"time", ""});
  spec_.linux_.time_offsets = {{"boottime", {1000000000, 0}}, {"monotonic", {7, 5}}};
  EXPECT_EQ(Run("cut -c1-2 /proc/uptime; cat /proc/self/timens_offsets | tr -s ' ' | tr '\\n' ' '"),
            "10\nmonotonic 7 5 boottime 1000000000 0 ");
}

TEST_F(RootFeaturesTest, JoinsNamespacesByPath) {
  std::string net = directory_ + "/net";
  std::string uts = directory_ + "/uts";
  ASSERT_TRUE(sys::CreatePinnedNamespaces({{sys::NamespaceKind::kNet, net}, {sys::NamespaceKind::kUts, uts}}, {}).ok());
  for (oci::Namespace& ns : spec_.linux_.namespaces) {
    if (ns.type == "network") ns.path = net;
    if (ns.type == "uts") ns.path = uts;
  }
  struct stat net_stat;
  ASSERT_EQ(::stat(net.c_str(), &net_stat), 0);
  EXPECT_EQ(Run("readlink /proc/self/ns/net; hostname"), "net:[" + std::to_string(net_stat.st_ino) + "]\ninside\n");
  EXPECT_TRUE(sys::Unpin(net).ok());
  EXPECT_TRUE(sys::Unpin(uts).ok());
}

TEST_F(RootFeaturesTest, JoinsAUserNamespaceAndWhatBelongsToIt) {
  std::string user = directory_ + "/user";
  std::string net = directory_ + "/net";
  std::string ipc = directory_ + "/ipc";
  sys::IdMap map{{{0, 100000, 65536}}, {{0, 100000, 65536}}};
  ASSERT_TRUE(
      sys::CreatePinnedNamespacesIn({map, user}, {{sys::NamespaceKind::kNet, net}, {sys::NamespaceKind::kIpc, ipc}}, {})
          .ok());
  for (oci::Namespace& ns : spec_.linux_.namespaces) {
    if (ns.type == "network") ns.path = net;
    if (ns.type == "ipc") ns.path = ipc;
  }
  spec_.linux_.namespaces.push_back({"user", user});
  OwnRootfs(100000);
  EXPECT_EQ(Run("cat /proc/self/uid_map | tr -s ' '; stat -c %u /; grep -c sysfs /proc/self/mountinfo"),
            " 0 100000 65536\n0\n1\n");
  for (const std::string& path : {user, net, ipc}) EXPECT_TRUE(sys::Unpin(path).ok());
}

TEST_F(RootFeaturesTest, JoinsAPidNamespace) {
  spec_.process.args = {"/bin/sleep", "100"};
  Result<Created> first = Create();
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  ASSERT_TRUE(Start(socket_, Soon()).ok());
  spec_.linux_.namespaces[0] = {"pid", "/proc/" + std::to_string(first->pid) + "/ns/pid"};
  EXPECT_EQ(Run("cat /proc/1/cmdline | tr '\\0' ' '; echo $$"), "/bin/sleep 100 2\n");
}

TEST_F(RootFeaturesTest, RefusesAPathThatIsNoNamespaceOfItsKind) {
  spec_.process.args = {"true"};
  spec_.linux_.namespaces[1] = {"network", "/proc/self/ns/uts"};
  EXPECT_EQ(Create().status().message(), "linux.namespaces[1]: /proc/self/ns/uts is no network namespace");
}

TEST_F(RootFeaturesTest, FiltersSystemCalls) {
  oci::Seccomp seccomp;
  seccomp.default_action = "SCMP_ACT_ALLOW";
  seccomp.syscalls = {{{"mkdir", "mkdirat", "no_such_call"}, "SCMP_ACT_ERRNO", 95, {}}};
  spec_.linux_.seccomp_rules = seccomp;
  for (bool no_new_privileges : {true, false}) {
    spec_.process.no_new_privileges = no_new_privileges;
    EXPECT_EQ(Run("mkdir /x 2>&1 | cut -d: -f3; grep Seccomp: /proc/self/status"),
              " Operation not supported\nSeccomp:\t2\n");
  }
}

TEST_F(RootFeaturesTest, TakesLimitsAndPriorities) {
  spec_.process.rlimits = {{"RLIMIT_NOFILE", 123, 456}, {"RLIMIT_CORE", 0, 0}};
  spec_.process.oom_score_adj = 500;
  spec_.process.scheduler = oci::Scheduler{"SCHED_BATCH", 5, 0, 0, 0, 0, {}};
  spec_.linux_.personality = oci::Personality{"LINUX32", {}};
  EXPECT_EQ(
      Run("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj /proc/self/personality; cut -d' ' -f19 /proc/self/stat"),
      "123\n456\n500\n00000008\n5\n");
}

TEST_F(RootFeaturesTest, HooksRunWhereTheyBelong) {
  std::vector<std::string> seen;
  options_.create_runtime = [&](pid_t pid) -> Status {
    seen.push_back(::access(("/proc/" + std::to_string(pid)).c_str(), F_OK) == 0 ? "runtime" : "no process");
    return {};
  };
  options_.create_container = [](pid_t) -> Status {
    return ::access("/bin/busybox-of-the-node-is-not-needed", F_OK) == 0 ? Internal("?") : Status();
  };
  options_.start_container = [](pid_t pid) -> Status {
    std::ofstream("/tmp/hook") << (pid > 1 ? "in the container\n" : "no pid\n");
    return {};
  };
  EXPECT_EQ(Run("cat /tmp/hook"), "in the container\n");
  EXPECT_THAT(seen, ::testing::ElementsAre("runtime"));
  options_.create_container = [](pid_t) { return Internal("hook says no"); };
  spec_.process.args = {"true"};
  EXPECT_EQ(Create().status().message(), "hook says no");
}

TEST_F(RootFeaturesTest, BringsTheCallersDescriptorsWhenAsked) {
  options_.preserve_fds = 1;
  int file = ::open("/etc/hostname", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  sys::UniqueFd kept(::fcntl(3, F_GETFD) < 0 ? ::dup2(file, 3) : -1);
  EXPECT_EQ(Run("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 4 ");  // 4 is the directory that ls reads
  ::close(file);
}

TEST_F(RootFeaturesTest, StartsInItsCgroups) {
  Result<sys::CgroupLayout> layout = sys::CgroupLayout::Detect();
  ASSERT_TRUE(layout.ok());
  std::string cgroup = "/native-test-" + std::to_string(::getpid());
  ASSERT_TRUE(sys::CreateCgroup(*layout, cgroup).ok());
  std::vector<sys::UniqueFd> fds;
  for (const std::string& directory : layout->Directories(cgroup)) {
    if (directory.starts_with(layout->unified_mount_point()) && !layout->unified_mount_point().empty()) {
      fds.emplace_back(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      options_.cgroup.unified = fds.back().get();
    } else {
      fds.emplace_back(::open((directory + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
      options_.cgroup.v1_tasks.push_back(fds.back().get());
    }
    ASSERT_TRUE(fds.back().valid()) << directory;
  }
  EXPECT_EQ(Run("cut -d: -f3 /proc/self/cgroup | grep -vc '^/$'"), "0\n") << "its own cgroup is its root";
  spec_.linux_.namespaces.pop_back();
  std::string out =
      Run("cut -d: -f3 /proc/self/cgroup | grep -vc '^" + cgroup + "$'; ls /sys/fs/cgroup/pids | grep -c pids.max");
  EXPECT_EQ(out, "0\n1\n");
  EXPECT_TRUE(sys::RemoveCgroup(*layout, cgroup).ok());
}

TEST_F(RootFeaturesTest, HandsTheNotifyDescriptorToTheAgent) {
  std::string path = directory_ + "/agent.sock";
  Result<sys::UniqueFd> agent = sys::ListenUnix(path, SOCK_STREAM);
  ASSERT_TRUE(agent.ok());
  oci::Seccomp seccomp;
  seccomp.default_action = "SCMP_ACT_ALLOW";
  seccomp.listener_path = path;
  seccomp.listener_metadata = "meta";
  seccomp.syscalls = {{{"mkdir", "mkdirat"}, "SCMP_ACT_NOTIFY", {}, {}}};
  spec_.linux_.seccomp_rules = seccomp;
  spec_.process.no_new_privileges = true;
  spec_.process.args = {"/bin/sleep", "100"};
  Result<Created> made = Create();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ASSERT_TRUE(Start(socket_, Soon()).ok());
  Result<sys::UniqueFd> connection = sys::AcceptUnix(agent->get());
  ASSERT_TRUE(connection.ok());
  Result<sys::Message> message = sys::ReceiveWithFds(connection->get(), 4096, Soon());
  ASSERT_TRUE(message.ok()) << message.status().ToString();
  EXPECT_EQ(message->fds.size(), 1u);
  EXPECT_THAT(message->data,
              HasSubstr(R"("fds":["seccompFd"],"pid":)" + std::to_string(made->pid) + R"(,"metadata":"meta")"));
  EXPECT_THAT(message->data, HasSubstr(R"("id":"test")"));
}

TEST_F(RootFeaturesTest, ShowsTheNodesSysWhereItMayMountNone) {
  spec_.linux_.namespaces.erase(spec_.linux_.namespaces.begin() + 1);  // the node's network, a new user namespace
  spec_.linux_.namespaces.push_back({"user", ""});
  spec_.linux_.uid_mappings = {{0, 100000, 65536}};
  spec_.linux_.gid_mappings = {{0, 100000, 65536}};
  OwnRootfs(100000);
  EXPECT_EQ(Run("ls -d /sys/kernel; touch /sys/kernel/x 2>&1 | cut -d: -f3"), "/sys/kernel\n Read-only file system\n");
}

TEST_F(RootFeaturesTest, MakesTheDevicesOfTheSpecification) {
  spec_.linux_.devices = {{"/dev/own/null", 'c', 1, 3, 0600, 7, 8}, {"/dev/fifo", 'p', 0, 0, 0644, {}, {}}};
  EXPECT_EQ(Run("stat -c '%F %t:%T %a %u:%g' /dev/own/null; stat -c %F /dev/fifo; readlink /dev/fd; readlink /dev/ptmx"),
            "character special file 1:3 600 7:8\nfifo\n/proc/self/fd\npts/ptmx\n");
}

TEST_F(RootFeaturesTest, KnowsTheHomeOfTheUserAndMakesTheWorkingDirectory) {
  WriteFile("etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n", 0644);
  spec_.process.user.uid = 1000;
  spec_.process.cwd = "/made/for/it";
  EXPECT_EQ(Run("echo $HOME; pwd"), "/home/u\n/made/for/it\n");
}

TEST_F(RootFeaturesTest, AnExecIsPinnedToItsProcessors) {
  spec_.process.args = {"/bin/sleep", "100"};
  Result<Created> made = Create();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ASSERT_TRUE(Start(socket_, Soon()).ok());
  spec_.process.exec_cpu_affinity = oci::ExecCpuAffinity{"0", "0"};
  EXPECT_EQ(Exec(*made, "grep Cpus_allowed_list /proc/self/status | cut -f2"), "0\n");
}

}  // namespace
}  // namespace davit::native
