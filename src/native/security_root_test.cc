// What a hostile image or container tries on the runtime that makes or enters it.
//
// Named after the first weakness of each class; none is of this code.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/strings.h"
#include "native/devices.h"
#include "native/exec.h"
#include "native/native_fixture.h"
#include "native/own_executable.h"
#include "native/target.h"

namespace davit::native {
namespace {

using ::testing::HasSubstr;
using testing::NativeFixture;
using ::testing::Not;

constexpr int kRounds = 1000;

class RootSecurityTest : public NativeFixture {
 protected:
  // A process beside us that does this until it is ended: the hostile neighbour.
  class Neighbour {
   public:
    explicit Neighbour(const std::function<void()>& mischief) : pid_(::fork()) {
      if (pid_ != 0) return;
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) mischief();
    }
    ~Neighbour() {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    Neighbour(const Neighbour&) = delete;
    Neighbour& operator=(const Neighbour&) = delete;

   private:
    pid_t pid_;
  };

  // A directory of the node that must stay as it is.
  std::string Forbidden() {
    std::string path = directory_ + "/forbidden";
    std::filesystem::create_directories(path);
    return path;
  }
};

// CVE-2024-21626: a working directory or a program by a descriptor of the runtime.
TEST_F(RootSecurityTest, NoDescriptorOfTheRuntimeIsAWayOut) {
  for (int fd = 3; fd < 24; ++fd) {
    for (const char* below : {"", "/..", "/../../..", "/1/root"}) {
      spec_.process.cwd = "/proc/self/fd/" + std::to_string(fd) + below;
      spec_.process.args = {"/bin/pwd"};
      Result<Created> made = Create();
      if (!made.ok()) continue;
      EXPECT_FALSE(Start(socket_, Soon()).ok()) << spec_.process.cwd;
    }
    spec_.process.cwd = "/";
    spec_.process.args = {"/proc/self/fd/" + std::to_string(fd) + "/self/exe"};
    Result<Created> made = Create();
    if (made.ok()) {
      EXPECT_FALSE(Start(socket_, Soon()).ok()) << spec_.process.args[0];
    }
  }
}

TEST_F(RootSecurityTest, NoDescriptorOfAnExecIsAWayOut) {
  spec_.process.args = {"/bin/sleep", "1000"};
  Result<Created> made = Create();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ASSERT_TRUE(Start(socket_, Soon()).ok());
  for (int fd = 3; fd < 24; ++fd) {
    oci::Process process = spec_.process;
    process.args = {"/bin/pwd"};
    process.cwd = "/proc/self/fd/" + std::to_string(fd);
    ExecOptions options;
    options.id = "test";
    options.init_pid = made->pid;
    options.init_pidfd = made->pidfd.get();
    EXPECT_FALSE(ExecInContainer(spec_, process, options).ok()) << process.cwd;
    process.cwd = "/";
    process.args = {"/proc/self/fd/" + std::to_string(fd) + "/1/root/bin/true"};
    EXPECT_FALSE(ExecInContainer(spec_, process, options).ok()) << process.args[0];
  }
}

// CVE-2019-5736: the runtime executes itself in the container, which then writes to it.
TEST_F(RootSecurityTest, TheRuntimesProgramCannotBeWritten) {
  std::string program = directory_ + "/runtime";
  std::filesystem::copy_file("/bin/busybox", program);
  Result<sys::UniqueFd> guarded = ProtectedExecutable(program);
  ASSERT_TRUE(guarded.ok()) << guarded.status().ToString();
  std::string again = "/proc/self/fd/" + std::to_string(guarded->get());
  EXPECT_LT(::open(again.c_str(), O_WRONLY | O_CLOEXEC), 0);
  EXPECT_EQ(errno, EROFS);
  EXPECT_NE(::truncate(again.c_str(), 0), 0);
  // As root of the node, which a container is not: still read-only through the process that executes it.
  pid_t pid = ::fork();
  if (pid == 0) {
    char name[] = "sleep";
    char seconds[] = "1000";
    char* argv[] = {name, seconds, nullptr};
    char* envp[] = {nullptr};
    ::syscall(SYS_execveat, guarded->get(), "", argv, envp, AT_EMPTY_PATH);
    ::_exit(1);
  }
  std::string exe = "/proc/" + std::to_string(pid) + "/exe";
  auto running = [&] {
    Result<std::string> name = sys::ReadFile("/proc/" + std::to_string(pid) + "/comm", 64);
    return name.ok() && *name != "native_test\n";
  };
  auto ended = [&] {
    siginfo_t info = {};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
  };
  while (!running()) {
    ASSERT_FALSE(ended()) << "the program can not be executed: was it written to?";
    ::sched_yield();
  }
  EXPECT_LT(::open(exe.c_str(), O_WRONLY | O_CLOEXEC), 0);
  EXPECT_THAT(errno, ::testing::AnyOf(EROFS, ETXTBSY));
  sys::UniqueFd held(::open(exe.c_str(), O_PATH | O_CLOEXEC));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  EXPECT_LT(::open(("/proc/self/fd/" + std::to_string(held.get())).c_str(), O_WRONLY | O_CLOEXEC), 0)
      << "after its end";
  EXPECT_EQ(errno, EROFS);
}

// CVE-2025-31133: /dev/null of the image is a link to what shall not be reached.
TEST_F(RootSecurityTest, AMaskIsTheNullDeviceOfTheNode) {
  std::filesystem::create_directories(Rootfs() + "/dev");
  std::filesystem::create_symlink("/proc/sys/kernel/core_pattern", Rootfs() + "/dev/null");
  spec_.mounts.erase(spec_.mounts.begin() + 1, spec_.mounts.begin() + 4);  // /dev and what is in it are the image's
  spec_.linux_.masked_paths = {"/proc/cpuinfo"};
  spec_.process.args = {"true"};
  // A device that is not what it is named for is an error, and not used.
  EXPECT_THAT(Create().status().message(), HasSubstr("device /dev/null: there is something else"));
  std::filesystem::remove(Rootfs() + "/dev/null");
  EXPECT_EQ(Run("stat -c %F:%t:%T /proc/cpuinfo"), "character special file:1:3\n");
}

// CVE-2025-52565: /dev/console, /dev/pts by links of the image.
TEST_F(RootSecurityTest, TheConsoleIsMountedInsideTheRoot) {
  std::filesystem::create_directories(Rootfs() + "/dev");
  std::filesystem::create_symlink("/proc/sys/kernel/core_pattern", Rootfs() + "/dev/console");
  spec_.mounts.erase(spec_.mounts.begin() + 1);  // /dev is the image's
  spec_.process.terminal = true;
  std::string before = sys::ReadFile("/proc/sys/kernel/core_pattern", 4096).value_or("");
  std::string out = Run("tty; stat -c %t /dev/pts/0");
  EXPECT_THAT(out, HasSubstr("/dev/pts/0"));
  EXPECT_EQ(sys::ReadFile("/proc/sys/kernel/core_pattern", 4096).value_or(""), before);
}

// CVE-2019-19921, CVE-2023-28642: /proc and /sys of the image are links.
TEST_F(RootSecurityTest, ProcAndSysAreMountedWhereTheyAreNamed) {
  for (const char* name : {"proc", "sys"}) {
    std::filesystem::remove_all(Rootfs() + "/proc");
    std::filesystem::remove_all(Rootfs() + "/sys");
    std::filesystem::create_directories(Rootfs() + "/elsewhere");
    std::filesystem::create_symlink("/elsewhere", Rootfs() + "/" + name);
    spec_.process.args = {"true"};
    EXPECT_THAT(Create().status().message(), HasSubstr("a link is in the way")) << name;
  }
}

// CVE-2019-16884, CVE-2025-52881: a label or a sysctl is written to what only looks like procfs.
TEST_F(RootSecurityTest, SysctlsAndLabelsGoToTheProcfsOfTheNode) {
  spec_.mounts.erase(spec_.mounts.begin());  // no procfs
  std::filesystem::create_directories(Rootfs() + "/proc/sys/net/ipv4");
  WriteFile("proc/sys/net/ipv4/ip_forward", "untouched", 0666);
  spec_.linux_.sysctl = {{"net.ipv4.ip_forward", "1"}};
  spec_.linux_.masked_paths = {};
  spec_.linux_.readonly_paths = {};
  EXPECT_EQ(Run("cat /proc/sys/net/ipv4/ip_forward"), "untouched");
}

// CVE-2021-30465 and its kind: the place of a mount changes between look-up and mount.
TEST_F(RootSecurityTest, MountTargetsNeverLeaveTheRoot) {
  std::filesystem::create_directories(Rootfs() + "/volume/a");
  std::string forbidden = Forbidden();
  std::string up = "../../../../../../../../../.." + forbidden;
  std::string a = Rootfs() + "/volume/a";
  std::string b = Rootfs() + "/volume/b";
  std::filesystem::create_directory_symlink(up, b);
  Neighbour swapper(
      [&] { ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), 2 /* RENAME_EXCHANGE */); });
  sys::UniqueFd root(::open(Rootfs().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (int round = 0; round < kRounds; ++round) {
    std::string name = "/volume/a/made" + std::to_string(round);
    // May fail, and may land where the link leads inside the root: never in the forbidden directory.
    if (round % 2 == 0) {
      IgnoreError(MakeDirectoryTarget(root.get(), name).status());
    } else {
      IgnoreError(MakeFileTarget(root.get(), name).status());
    }
    ASSERT_TRUE(std::filesystem::is_empty(forbidden)) << round;
  }
}

TEST_F(RootSecurityTest, CreationsBesideASwapperStayInTheRoot) {
  std::string shared = directory_ + "/shared";
  std::filesystem::create_directories(shared + "/a/b");
  std::string forbidden = Forbidden();
  std::string a = shared + "/a";
  std::string b = shared + "/x";
  std::filesystem::create_directory_symlink("/../../../../../../../.." + forbidden, b);
  Neighbour swapper([&] { ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), 2); });
  spec_.mounts.push_back({"/shared", "bind", shared, {"rbind"}, {}, {}});
  spec_.mounts.push_back({"/shared/a/b", "tmpfs", "tmpfs", {}, {}, {}});
  spec_.mounts.push_back({"/shared/a/c/d", "bind", "/etc/hostname", {"bind", "ro"}, {}, {}});
  spec_.process.args = {"/bin/true"};
  spec_.linux_.namespaces.erase(spec_.linux_.namespaces.begin() + 1);  // a network namespace takes the longest
  spec_.mounts.erase(std::find_if(spec_.mounts.begin(), spec_.mounts.end(),
                                  [](const auto& m) { return m.destination == "/sys/fs/cgroup"; }));
  int made_some = 0;
  for (int round = 0; round < kRounds / 4; ++round) {
    Result<Created> made = Create();
    made_some += made.ok() ? 1 : 0;
    if (made.ok()) Discard(*made);
    ASSERT_TRUE(std::filesystem::is_empty(forbidden)) << round;
  }
  EXPECT_GT(made_some, 0);
}

// A container that changes its own /proc, /dev and working directory while others enter it.
TEST_F(RootSecurityTest, ExecsBesideASwapperStayInTheRoot) {
  spec_.process.args = {
      "/bin/sh", "-c", "mkdir /w; while :; do mv /w /w2; ln -s /proc/1/root/.. /w; rm /w; mv /w2 /w; done 2>/dev/null"};
  Result<Created> made = Create();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ASSERT_TRUE(Start(socket_, Soon()).ok());
  spec_.process.cwd = "/w";
  for (int round = 0; round < kRounds / 4; ++round) {
    oci::Process process = spec_.process;
    process.args = {"/bin/sh", "-c", "test -e /bin/busybox && ! test -e .." + directory_};
    ExecOptions options;
    options.id = "test";
    options.init_pid = made->pid;
    options.init_pidfd = made->pidfd.get();
    Result<Created> exec = ExecInContainer(spec_, process, options);
    if (!exec.ok()) continue;
    int status = 0;
    ::waitpid(exec->pid, &status, 0);
    ASSERT_EQ(status, 0) << round;
  }
}

// CVE-2016-9962: who shares the PID namespace cannot reach the process that enters.
TEST_F(RootSecurityTest, AnEnteringProcessCannotBeLookedInto) {
  spec_.process.args = {"/bin/sh", "-c",
                        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1) ;; *) "
                        "l=$(ls -l $p/fd 2>/dev/null | grep -e socket -e '-> /$'); "
                        "[ -n \"$l\" ] && echo \"$p $l\" >> /tmp/seen;; esac; done; done"};
  Result<Created> made = Create();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ASSERT_TRUE(Start(socket_, Soon()).ok());
  for (int round = 0; round < kRounds / 10; ++round) EXPECT_EQ(Exec(*made, "echo x"), "x\n");
  EXPECT_EQ(sys::ReadFile(Rootfs() + "/tmp/seen", 1 << 20).value_or(""), "");
}

}  // namespace
}  // namespace davit::native
