// davit-init as a program: what its process 1 is, joins, reaps and survives.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/strings.h"
#include "sys/process.h"
#include "sys/temp_dir.h"

namespace davit {
namespace {

Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

Result<sys::CommandResult> RunInit(const std::vector<std::string>& arguments, const std::string& input = "") {
  sys::SpawnOptions options;
  options.argv = {DAVIT_INIT_BINARY};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.env = sys::MinimalEnvironment();
  return sys::RunCommand(options, input, 4096, Soon());
}

class RootInitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "making namespaces needs root";
  }
  void TearDown() override {
    if (init_.valid()) IgnoreError(init_.Signal(SIGKILL));
  }

  // Starts one and leaves it running until the end of the test.
  void Start(const std::vector<std::string>& arguments = {}) {
    Result<sys::CommandResult> result = RunInit(arguments);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    ASSERT_EQ(result->exit.code, 0) << result->err;
    Result<sys::PidFd> init = sys::PidFd::Open(static_cast<pid_t>(ParseUint64(Trim(result->out)).value_or(0)));
    ASSERT_TRUE(init.ok()) << result->out;
    init_ = std::move(*init);
  }
  std::string Proc(const std::string& name) const { return "/proc/" + std::to_string(init_.pid()) + "/" + name; }
  // The value of a line of /proc/PID/status.
  std::string StatusOf(const std::string& name) const {
    for (const std::string& line : Split(sys::ReadFile(Proc("status"), 64 * 1024).value_or(""), '\n')) {
      if (line.compare(0, name.size() + 1, name + ":") != 0) continue;
      return std::string(Trim(std::string_view(line).substr(name.size() + 1)));
    }
    return "<no " + name + ">";
  }
  static std::string Link(const std::string& path) {
    char target[256];
    ssize_t n = ::readlink(path.c_str(), target, sizeof target);
    return std::string(target, n > 0 ? static_cast<size_t>(n) : 0);
  }
  static std::vector<std::string> Names(const std::string& path) {
    std::vector<std::string> names;
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return {"<cannot be listed>"};
    while (dirent* entry = ::readdir(directory)) {
      std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(std::move(name));
    }
    ::closedir(directory);
    return names;
  }
  // Runs `work` in the PID namespace of init_ and waits for its end.
  void Inside(void (*work)()) {
    pid_t entering = ::fork();
    if (entering == 0) {
      int ns = ::open(Proc("ns/pid").c_str(), O_RDONLY | O_CLOEXEC);
      if (ns < 0 || ::setns(ns, CLONE_NEWPID) != 0) ::_exit(9);
      pid_t inside = ::fork();  // setns(2): only children are in it
      if (inside == 0) {
        work();
        ::_exit(0);
      }
      int status = 0;
      ::_exit(::waitpid(inside, &status, 0) == inside && status == 0 ? 0 : 8);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(entering, &status, 0), entering);
    ASSERT_EQ(status, 0);
  }
  int ChildrenOfInit() const {
    int count = 0;
    for (const std::string& name : Names("/proc")) {
      std::string stat = sys::ReadFile("/proc/" + name + "/stat", 4096).value_or("");
      size_t close = stat.rfind(')');  // proc(5): pid (comm) state ppid
      if (close == std::string::npos) continue;
      std::vector<std::string> fields = Split(std::string_view(stat).substr(close + 1), ' ');
      if (fields.size() > 2 && fields[2] == std::to_string(init_.pid())) ++count;
    }
    return count;
  }
  // An orphan in the namespace lives until `hold` is closed, then init_ must reap it.
  void ExpectReapsAnOrphan() {
    static sys::Pipe hold;  // for a function without a capture
    hold = std::move(*sys::MakePipe());
    Inside([] {
      if (::fork() != 0) return;
      hold.write.reset();
      char c;
      ::_exit(::read(hold.read.get(), &c, 1) == 0 ? 0 : 1);
    });
    EXPECT_EQ(ChildrenOfInit(), 1);
    hold.write.reset();
    Deadline patience = Soon();
    while (ChildrenOfInit() != 0) ASSERT_FALSE(patience.expired());
  }

  sys::PidFd init_;
};

TEST_F(RootInitTest, IsProcessOneWithNothing) {
  Start();
  EXPECT_EQ(StatusOf("Name"), "davit-init");
  // No path of the node: every container of the pod reads this.
  EXPECT_EQ(sys::ReadFile(Proc("cmdline"), 4096).value_or("?"), std::string("davit-init\0", 11));
  EXPECT_EQ(StatusOf("NSpid"), std::to_string(init_.pid()) + "\t1");
  EXPECT_NE(Link(Proc("ns/pid")), Link("/proc/self/ns/pid"));
  EXPECT_NE(Link(Proc("ns/mnt")), Link("/proc/self/ns/mnt"));
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(StatusOf(set), "0000000000000000") << set;
  }
  EXPECT_EQ(StatusOf("NoNewPrivs"), "1");
  Deadline patience = Soon();  // it closes its descriptors after its number was printed
  while (!Names(Proc("fd")).empty()) ASSERT_FALSE(patience.expired());
  EXPECT_EQ(Names(Proc("root")), std::vector<std::string>());
  EXPECT_EQ(::open(Proc("root/file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
  EXPECT_EQ(errno, EROFS);
  std::string mounts = sys::ReadFile(Proc("mountinfo"), 1 << 20).value_or("");
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;  // none of the host's stays busy
}

TEST_F(RootInitTest, NothingLeadsToItsProgram) {
  Start();
  struct statvfs program {};
  ASSERT_EQ(::statvfs(Proc("exe").c_str(), &program), 0);
  EXPECT_NE(program.f_flag & ST_RDONLY, 0u);
  // Root without capabilities, as it is itself, which could look into a process like it (ptrace(2)).
  static std::string path;  // for a function without a capture
  path = Proc("exe");
  Inside([] {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    if (::syscall(SYS_capset, &header, none) != 0) ::_exit(1);
    char target[256];
    if (::readlink("/proc/self/exe", target, sizeof target) < 0) ::_exit(2);
    if (::readlink(path.c_str(), target, sizeof target) >= 0 || errno != EACCES) ::_exit(3);
    if (::open(path.c_str(), O_RDONLY | O_CLOEXEC) >= 0) ::_exit(4);
  });
}

TEST_F(RootInitTest, JoinsTheNamespacesAndCgroupsItIsTold) {
  sys::TempDir dir;
  ASSERT_TRUE(sys::WriteFileAtomic(dir.At("procs"), "", 0600, sys::Durability::kAtomic).ok());
  sys::Pipe ready = std::move(*sys::MakePipe()), hold = std::move(*sys::MakePipe());
  pid_t other = ::fork();
  if (other == 0) {
    hold.write.reset();
    if (::unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0) ::_exit(1);
    IgnoreError(sys::WriteAll(ready.write.get(), "y"));
    char c;
    ::_exit(::read(hold.read.get(), &c, 1) == 0 ? 0 : 1);
  }
  ready.write.reset();
  char c = 0;
  ASSERT_EQ(::read(ready.read.get(), &c, 1), 1);
  std::string ns = "/proc/" + std::to_string(other) + "/ns/";
  Start({"--netns", ns + "net", "--ipcns", ns + "ipc", "--utsns", ns + "uts", "--cgroup-procs", dir.At("procs")});
  for (const char* kind : {"net", "ipc", "uts"}) {
    EXPECT_EQ(Link(Proc(std::string("ns/") + kind)), Link(ns + kind));
    EXPECT_NE(Link(ns + kind), Link(std::string("/proc/self/ns/") + kind));
  }
  EXPECT_EQ(sys::ReadFile(dir.At("procs"), 64).value_or(""), std::to_string(init_.pid()));
  hold.write.reset();
  EXPECT_EQ(::waitpid(other, nullptr, 0), other);
}

TEST_F(RootInitTest, ReapsOrphansAndOnlyTheOutsideCanEndIt) {
  Start();
  ExpectReapsAnOrphan();
  Inside([] { ::kill(1, SIGTERM); });
  Inside([] { ::kill(1, SIGKILL); });
  ExpectReapsAnOrphan();  // still there
  ASSERT_TRUE(init_.Signal(SIGTERM).ok());
  EXPECT_TRUE(init_.WaitEnded(Soon()));
}

TEST_F(RootInitTest, WaitsForTheWordToBeginAndGoesWithoutIt) {
  Result<sys::CommandResult> begun = RunInit({"--wait", "stdin"}, "g");
  ASSERT_TRUE(begun.ok()) << begun.status().ToString();
  ASSERT_EQ(begun->exit.code, 0) << begun->err;
  Result<sys::PidFd> init = sys::PidFd::Open(static_cast<pid_t>(ParseUint64(Trim(begun->out)).value_or(0)));
  ASSERT_TRUE(init.ok()) << begun->out;
  init_ = std::move(*init);

  Result<sys::CommandResult> alone = RunInit({"--wait", "stdin"});
  ASSERT_TRUE(alone.ok()) << alone.status().ToString();
  EXPECT_EQ(alone->exit.code, 1);
  EXPECT_EQ(alone->out, "");
}

TEST_F(RootInitTest, ErrorsNameTheOperandAndPrintNoProcess) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--netns", "/nonexistent/net"},
                                                    {"--utsns", "/proc/self/ns/net"},
                                                    {"--cgroup-procs", "/nonexistent/procs"},
                                                    {"--netns"},
                                                    {"--no-such", "thing"}}) {
    Result<sys::CommandResult> result = RunInit(arguments);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    EXPECT_EQ(result->exit.code, 1);
    EXPECT_EQ(result->out, "");
    if (arguments.size() == 2 && arguments[1][0] == '/') {
      EXPECT_NE(result->err.find(arguments[1] + ": "), std::string::npos) << result->err;
    } else {
      EXPECT_NE(result->err.find("usage"), std::string::npos) << result->err;
    }
  }
}

}  // namespace
}  // namespace davit
