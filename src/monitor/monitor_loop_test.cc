// The monitor's loop with limits small enough to reach them, over runtimes that are lines of shell: a
// "container" is whatever they leave behind. The loop runs in a fork of the test, so a sanitized test
// checks it; real runtimes and the real binary are in monitor_root_test.cc.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "base/strings.h"
#include "monitor/client.h"
#include "monitor/monitor.h"
#include "sys/process.h"
#include "sys/temp_dir.h"
#include "sys/unix_socket.h"

namespace davit::monitor {
namespace {

Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

class MonitorLoopTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (monitor_ <= 0) return;
    Status destroyed = Destroy(dir(), Soon());
    EXPECT_TRUE(destroyed.ok()) << destroyed.ToString();
    if (!destroyed.ok()) ::kill(monitor_, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(monitor_, &status, 0), monitor_);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(Query(dir(), Soon()).code(), StatusCode::kNotFound);
  }

  const std::string& dir() const { return dir_.path(); }

  // A container that runs `script` from its start on.
  LaunchOptions Container(const std::string& script) {
    const std::string go = dir() + "/go";
    EXPECT_EQ(::mkfifo(go.c_str(), 0600), 0);
    LaunchOptions options = Runtime("{ read x <" + go + "; " + script + "; } & echo $! >" + dir() + "/pid");
    options.start_argv = {"/bin/sh", "-c", "echo >" + go};
    return options;
  }
  // One whose create is `script`.
  LaunchOptions Runtime(const std::string& script) {
    LaunchOptions options;
    options.directory = dir();
    options.log_path = dir() + "/log";
    options.pid_file = dir() + "/pid";
    options.environment = sys::MinimalEnvironment();
    options.create_argv = {"/bin/sh", "-c", script};
    options.start_argv = {"true"};
    return options;
  }
  // `limit_files`: no file may grow past 4 KiB, which stands in for a full disk.
  void Run(const LaunchOptions& options, Limits limits, bool limit_files = false) {
    Result<sys::UniqueFd> listener = sys::ListenUnix(dir() + "/monitor.sock", SOCK_SEQPACKET);
    ASSERT_TRUE(listener.ok()) << listener.status().ToString();
    monitor_ = ::fork();
    ASSERT_GE(monitor_, 0);
    if (monitor_ > 0) return;
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit files = {4096, 4096};
    if (limit_files && ::setrlimit(RLIMIT_FSIZE, &files) != 0) ::_exit(2);
    Result<std::unique_ptr<Monitor>> monitor = Monitor::Create(options, std::move(*listener), limits);
    if (!monitor.ok()) ::_exit(3);
    (*monitor)->Run();
    monitor->reset();
    ::_exit(0);
  }
  void RunCreated(const LaunchOptions& options, Limits limits, bool limit_files = false) {
    Run(options, limits, limit_files);
    ASSERT_EQ(WaitPhase(Phase::kCreated).phase, Phase::kCreated);
  }
  State WaitPhase(Phase phase) {
    Result<sys::UniqueFd> watch = Watch(dir());
    while (watch.ok()) {
      Result<std::optional<State>> state = ReadState(watch->get());
      if (!state.ok() || !*state) break;
      if ((*state)->phase >= phase) return **state;
    }
    // Ended before the watch came: the record has what there is to know.
    std::optional<ExitRecord> exit = ReadExitRecord(dir());
    EXPECT_TRUE(exit) << "the monitor has ended without a record";
    return {.phase = Phase::kExited, .exit = exit.value_or(ExitRecord{-1})};
  }
  size_t LogLines() {
    std::string log = sys::ReadFile(dir() + "/log", 64 << 20).value_or("");
    return static_cast<size_t>(std::count(log.begin(), log.end(), '\n'));
  }
  // A FIFO of which the test holds both ends, so that nobody waits to open it.
  sys::UniqueFd Fifo(const std::string& path) {
    EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
    return sys::UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }
  // The processes whose numbers come as one line from `fd`.
  static std::vector<sys::PidFd> ReadProcesses(int fd) {
    char text[256];
    pollfd p = {fd, POLLIN, 0};
    if (::poll(&p, 1, 60'000) != 1) return {};
    ssize_t n = ::read(fd, text, sizeof text);
    std::vector<sys::PidFd> processes;
    std::string_view line = Trim(std::string_view(text, static_cast<size_t>(std::max<ssize_t>(n, 0))));
    for (const std::string& number : Split(line, ' ')) {
      Result<sys::PidFd> process = sys::PidFd::Open(static_cast<pid_t>(ParseUint64(number).value_or(0)));
      EXPECT_TRUE(process.ok()) << number;
      if (process.ok()) processes.push_back(std::move(*process));
    }
    return processes;
  }
  static bool Readable(int fd) {
    pollfd p = {fd, POLLIN, 0};
    return ::poll(&p, 1, 60'000) == 1;
  }

  sys::TempDir dir_;
  pid_t monitor_ = 0;
};

TEST_F(MonitorLoopTest, RunsAContainerToItsEnd) {
  RunCreated(Container("echo out; echo err >&2; exit 3"), {});
  ASSERT_TRUE(Start(dir(), Soon()).ok());
  State state = WaitPhase(Phase::kExited);
  ASSERT_TRUE(state.exit);
  EXPECT_EQ(state.exit->code, 3);
  EXPECT_EQ(LogLines(), 2u);
}

TEST_F(MonitorLoopTest, AttachedClientThatReadsNothingIsDroppedAndTheLogIsWhole) {
  RunCreated(Container("exec seq 1 400000"), {.stall_ms = 50, .busy_tick_ms = 10});
  sys::Pipe out = std::move(*sys::MakePipe());
  Result<AttachSession> attach = Attach(dir(), {.stdout_fd = out.write.get()});
  ASSERT_TRUE(attach.ok()) << attach.status().ToString();
  ASSERT_TRUE(Start(dir(), Soon()).ok());
  EXPECT_TRUE(Readable(attach->fd()));  // the session is over while the pipe is full
  EXPECT_EQ(WaitPhase(Phase::kExited).exit->code, 0);
  EXPECT_EQ(LogLines(), 400000u);
}

TEST_F(MonitorLoopTest, HungCreateIsKilledWithAllItStarted) {
  sys::UniqueFd pids = Fifo(dir() + "/pids");
  Run(Runtime("sleep 1000 & echo $! $$ >" + dir() + "/pids; exec sleep 1000"), {.force_ms = 20, .busy_tick_ms = 10});
  std::vector<sys::PidFd> processes = ReadProcesses(pids.get());
  ASSERT_EQ(processes.size(), 2u);
  ASSERT_TRUE(Destroy(dir(), Soon()).ok());
  for (const sys::PidFd& process : processes) EXPECT_TRUE(process.WaitEnded(Soon()));
}

TEST_F(MonitorLoopTest, HungExecRuntimeIsKilledWhenItsClientIsGone) {
  RunCreated(Container("exec sleep 1000"), {.force_ms = 20, .busy_tick_ms = 10});
  ASSERT_TRUE(Start(dir(), Soon()).ok());
  sys::UniqueFd pids = Fifo(dir() + "/pids");
  Request request{.type = RequestType::kExec};
  request.exec.argv = {"/bin/sh", "-c", "echo $$ >" + dir() + "/pids; exec sleep 1000"};
  request.exec.pid_file = dir() + "/exec.pid";
  Result<sys::UniqueFd> client = sys::ConnectUnix(dir() + "/monitor.sock", SOCK_SEQPACKET);
  ASSERT_TRUE(client.ok());
  request.exec.stdin_fd = request.exec.stdout_fd = request.exec.stderr_fd = -1;
  ASSERT_TRUE(sys::SendWithFds(client->get(), EncodeRequest(request), {}).ok());
  std::vector<sys::PidFd> processes = ReadProcesses(pids.get());
  ASSERT_EQ(processes.size(), 1u);
  client->reset();
  EXPECT_TRUE(processes[0].WaitEnded(Soon()));
  EXPECT_EQ(Query(dir(), Soon())->phase, Phase::kRunning);
}

TEST_F(MonitorLoopTest, OneConnectionTooManyIsClosed) {
  RunCreated(Container("exec sleep 1000"), {.connections = 2});
  Result<sys::UniqueFd> first = Watch(dir()), second = Watch(dir());
  ASSERT_TRUE(ReadState(first->get())->has_value());
  ASSERT_TRUE(ReadState(second->get())->has_value());
  EXPECT_FALSE(Query(dir(), Soon()).ok());
  ASSERT_TRUE(Start(dir(), Soon()).code() != StatusCode::kOk);
  first->reset();
  Deadline patience = Soon();
  while (!Query(dir(), Soon()).ok()) ASSERT_FALSE(patience.expired());  // until it has seen the close
}

TEST_F(MonitorLoopTest, OneExecTooManyIsRefused) {
  RunCreated(Container("exec sleep 1000"), {.execs = 1});
  ASSERT_TRUE(Start(dir(), Soon()).ok());
  ExecOptions options;
  options.pid_file = dir() + "/exec.pid";
  options.argv = {"/bin/sh", "-c", "sleep 1000 & echo $! >" + options.pid_file};
  Result<ExecSession> first = Exec(dir(), options, Soon());
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ(Exec(dir(), options, Soon()).code(), StatusCode::kResourceExhausted);
  ASSERT_TRUE(first->Kill(Soon()).ok());
  EXPECT_EQ(first->Wait(Soon()).value_or(-1), 137);
}

TEST_F(MonitorLoopTest, FullDiskDelaysTheNewsOfTheExitOnlySoLong) {
  RunCreated(Container("seq 1 5000; exit 7"), {.blocked_log_ms = 50, .busy_tick_ms = 10}, true);
  ASSERT_TRUE(Start(dir(), Soon()).ok());
  EXPECT_EQ(WaitPhase(Phase::kExited).exit->code, 7);
  EXPECT_EQ(ReadExitRecord(dir()).value_or(ExitRecord{-1}).code, 7);
  EXPECT_EQ(Query(dir(), Soon())->phase, Phase::kExited);  // it still has the rest of the log
}

TEST_F(MonitorLoopTest, GarbageGetsAnErrorOrTheDoor) {
  RunCreated(Container("exec sleep 1000"), {});
  for (const std::string& packet : {std::string("x"), std::string(1000, '\xff'), std::string("\x01\x63", 2),
                                    std::string("\x01\x07\x01\xff\xff\xff\xff", 7)}) {
    Result<sys::UniqueFd> client = sys::ConnectUnix(dir() + "/monitor.sock", SOCK_SEQPACKET);
    ASSERT_TRUE(client.ok());
    ASSERT_TRUE(sys::SendWithFds(client->get(), packet, {}).ok());
    Result<sys::Message> answer = sys::ReceiveWithFds(client->get(), 64 * 1024, Soon());
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    if (!answer->data.empty()) {
      EXPECT_FALSE(DecodeReply(answer->data)->status.ok());
    }
  }
  EXPECT_EQ(Query(dir(), Soon())->phase, Phase::kCreated);
}

// The timeout with which the process waits in epoll; nullopt when it does something else.
std::optional<int> EpollTimeout(pid_t pid) {
  std::string text = sys::ReadFile("/proc/" + std::to_string(pid) + "/syscall", 4096).value_or("");
  long number = -1;
  unsigned long long arg[4] = {};
  int found = std::sscanf(text.c_str(), "%ld %llx %llx %llx %llx", &number, &arg[0], &arg[1], &arg[2], &arg[3]);
  if (found != 5) return std::nullopt;
#ifdef SYS_epoll_wait
  if (number == SYS_epoll_wait) return static_cast<int>(arg[3]);
#endif
  if (number == SYS_epoll_pwait) return static_cast<int>(arg[3]);
  return std::nullopt;
}

TEST_F(MonitorLoopTest, SleepsWithoutATimerWhenNothingHappens) {
  if (::access("/proc/self/syscall", R_OK) != 0) GTEST_SKIP() << "this kernel does not show what a process waits for";
  RunCreated(Container("seq 1 100000; exec sleep 1000"), {.quiet_ms = 10});
  ASSERT_TRUE(Start(dir(), Soon()).ok());
  Deadline patience = Soon();
  while (EpollTimeout(monitor_) != -1 || LogLines() != 100000) ASSERT_FALSE(patience.expired());
  sys::Pipe out = std::move(*sys::MakePipe());
  Result<AttachSession> attach = Attach(dir(), {.stdout_fd = out.write.get()});  // costs no timer either
  ASSERT_TRUE(attach.ok());
  std::string init = std::to_string(Query(dir(), Soon())->pid);
  sys::UniqueFd output(::open(("/proc/" + init + "/fd/1").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  while (EpollTimeout(monitor_) != -1) ASSERT_FALSE(patience.expired());
  EXPECT_EQ(::fcntl(output.get(), F_GETPIPE_SZ), 64 * 1024);  // large only during the burst
}

class RootMonitorLoopTest : public MonitorLoopTest {};

TEST_F(RootMonitorLoopTest, OtherUsersAreRefusedEvenWhereTheSocketLetsThemIn) {
  if (::geteuid() != 0) GTEST_SKIP() << "changing the user needs root";
  RunCreated(Container("exec sleep 1000"), {});
  ASSERT_EQ(::chmod(dir().c_str(), 0755), 0);
  ASSERT_EQ(::chmod((dir() + "/monitor.sock").c_str(), 0666), 0);
  pid_t other = ::fork();
  if (other == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    Result<sys::UniqueFd> client = sys::ConnectUnix(dir() + "/monitor.sock", SOCK_SEQPACKET);
    if (!client.ok()) ::_exit(3);
    IgnoreError(sys::SendWithFds(client->get(), EncodeRequest({.type = RequestType::kDestroy}), {}));
    Result<sys::Message> answer = sys::ReceiveWithFds(client->get(), 64 * 1024, Soon());
    ::_exit(answer.ok() && !answer->data.empty() ? 4 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Query(dir(), Soon())->phase, Phase::kCreated);
}

}  // namespace
}  // namespace davit::monitor
