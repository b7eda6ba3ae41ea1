#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/strings.h"
#include "base/time.h"
#include "monitor/container_fixture.h"
#include "sys/process.h"

namespace davit::monitor {
namespace {

using testing::Soon;

class RootMonitorTest : public testing::ContainerFixture {
 protected:
  // Everything from fd until end of file, EIO (terminal) or until `until` has come.
  static std::string ReadUntil(int fd, const std::string& until) {
    std::string text;
    char buffer[4096];
    while (until.empty() || text.find(until) == std::string::npos) {
      pollfd p = {fd, POLLIN, 0};
      if (::poll(&p, 1, 30'000) <= 0) return text + "<timeout>";
      ssize_t n = ::read(fd, buffer, sizeof buffer);
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
    }
    return text;
  }
  static sys::Pipe NewPipe() { return std::move(*sys::MakePipe()); }
};

TEST_P(RootMonitorTest, RunsAContainerToItsEnd) {
  int64_t before = WallNanos();
  State state = RunContainer("a", {.script = "echo out; echo err >&2; echo -n tail; exit 3"});
  EXPECT_GE(state.started_at_nanos, before);
  ExitRecord exit = WaitExit("a");
  EXPECT_EQ(exit.code, 3);
  EXPECT_FALSE(exit.oom_killed);
  EXPECT_GE(exit.finished_at_nanos, exit.started_at_nanos);
  std::vector<std::string> out, err;
  for (const std::string& line : LogLines("a")) (line[3] == 'o' ? out : err).push_back(line);
  EXPECT_EQ(out, std::vector<std::string>({"stdout F out", "stdout P tail"}));
  EXPECT_EQ(err, std::vector<std::string>({"stderr F err"}));
  EXPECT_EQ(ReadExitRecord(Dir("a")), exit);
  EXPECT_TRUE(Destroy(Dir("a"), Soon()).ok());
  EXPECT_EQ(Query(Dir("a"), Soon()).code(), StatusCode::kNotFound);
}

TEST_P(RootMonitorTest, WatchSeesEveryPhaseInOrder) {
  ASSERT_TRUE(Launch(Prepare("a", {.script = "exit 0"}), Soon()).ok());
  Result<sys::UniqueFd> watch = Watch(Dir("a"));
  ASSERT_TRUE(watch.ok());
  ASSERT_TRUE(Start(Dir("a"), Soon()).ok());
  std::vector<Phase> phases;
  while (true) {
    Result<std::optional<State>> state = ReadState(watch->get());
    ASSERT_TRUE(state.ok());
    if (!*state) break;
    phases.push_back((*state)->phase);
  }
  EXPECT_EQ(phases, std::vector<Phase>({Phase::kCreated, Phase::kRunning, Phase::kExited}));
}

TEST_P(RootMonitorTest, CreateFailureCarriesTheRuntimesTextAndLeavesNothing) {
  LaunchOptions options = Prepare("a", {.argv = {"/bin/no-such-program"}});
  Result<State> state = Launch(options, Soon());
  if (state.ok()) state = Start(Dir("a"), Soon());  // where the runtime looks for the program only then
  ASSERT_FALSE(state.ok());
  EXPECT_NE(state.status().message().find("no-such-program"), std::string::npos) << state.status().ToString();
  ASSERT_TRUE(Destroy(Dir("a"), Soon()).ok());
  EXPECT_EQ(Query(Dir("a"), Soon()).code(), StatusCode::kNotFound);
}

TEST_P(RootMonitorTest, ALogThatCannotBeOpenedIsTheReason) {
  LaunchOptions options = Prepare("a", {.script = "true"});
  options.log_path = Dir("a") + "/missing/log";
  Status status = Launch(options, Soon()).status();
  EXPECT_NE(status.message().find("/missing/"), std::string::npos) << status.ToString();
  EXPECT_EQ(Query(Dir("a"), Soon()).code(), StatusCode::kNotFound);
}

TEST_P(RootMonitorTest, SecondLaunchInTheSameDirectoryIsRefused) {
  LaunchOptions options = Prepare("a", {.script = "sleep 1000"});
  ASSERT_TRUE(Launch(options, Soon()).ok());
  EXPECT_EQ(Launch(options, Soon()).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(Query(Dir("a"), Soon())->phase, Phase::kCreated);
}

TEST_P(RootMonitorTest, ManyLinesArriveWhole) {
  RunContainer("a", {.script = "seq 1 200000"});
  EXPECT_EQ(WaitExit("a").code, 0);
  std::vector<std::string> lines = LogLines("a");
  ASSERT_EQ(lines.size(), 200000u);
  for (size_t i = 0; i < lines.size(); ++i) ASSERT_EQ(lines[i], "stdout F " + std::to_string(i + 1));
}

TEST_P(RootMonitorTest, ReopenLosesAndDoublesNoLine) {
  RunContainer("a", {.script = "seq 1 300000"});
  int turned = 0;
  for (; turned < 5; ++turned) {
    std::string old = "log." + std::to_string(turned);
    ASSERT_EQ(::rename((Dir("a") + "/log").c_str(), (Dir("a") + "/" + old).c_str()), 0);
    Status status = ReopenLog(Dir("a"), Soon());
    if (!status.ok()) break;  // it was faster than we
    ASSERT_EQ(::access((Dir("a") + "/log").c_str(), F_OK), 0);
  }
  WaitExit("a");
  std::vector<std::string> lines;
  for (int i = 0; i <= turned; ++i) {
    std::vector<std::string> part = LogLines("a", i == turned ? "log" : "log." + std::to_string(i));
    lines.insert(lines.end(), part.begin(), part.end());
  }
  ASSERT_EQ(lines.size(), 300000u);
  for (size_t i = 0; i < lines.size(); ++i) ASSERT_EQ(lines[i], "stdout F " + std::to_string(i + 1));
}

TEST_P(RootMonitorTest, SignalEndsItWith128PlusSignal) {
  RunContainer("a", {.script = "sleep 1000"});
  ASSERT_TRUE(Signal(Dir("a"), SIGKILL, true).ok());
  EXPECT_EQ(WaitExit("a").code, 137);
  EXPECT_EQ(Signal(Dir("a"), 65, false).code(), StatusCode::kInvalidArgument);
}

TEST_P(RootMonitorTest, OutOfMemoryIsTold) {
  RunContainer("a", {.script = "dd if=/dev/zero of=/dev/null bs=100M", .memory_limit = 20 * 1024 * 1024});
  ExitRecord exit = WaitExit("a");
  EXPECT_EQ(exit.code, 137);
  EXPECT_TRUE(exit.oom_killed);
}

TEST_P(RootMonitorTest, SurvivesTheLaunchersSigkill) {
  LaunchOptions options = Prepare("a", {.script = "for i in 1 2 3; do read x; echo got $x; done", .open_stdin = true});
  sys::Pipe ready = NewPipe();
  pid_t launcher = ::fork();
  if (launcher == 0) {
    bool ok = Launch(options, Soon()).ok() && Start(options.directory, Soon()).ok();
    IgnoreError(sys::WriteAll(ready.write.get(), ok ? "y" : "n"));
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  ASSERT_EQ(::read(ready.read.get(), &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  ASSERT_EQ(::kill(launcher, SIGKILL), 0);
  ASSERT_EQ(::waitpid(launcher, nullptr, 0), launcher);
  Result<State> state = Query(Dir("a"), Soon());
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(state->phase, Phase::kRunning);
  sys::Pipe in = NewPipe();
  Result<AttachSession> attach = Attach(Dir("a"), {.stdin_fd = in.read.get()});
  ASSERT_TRUE(attach.ok());
  ASSERT_TRUE(sys::WriteAll(in.write.get(), "1\n2\n3\n").ok());
  EXPECT_EQ(WaitExit("a").code, 0);
  EXPECT_EQ(LogLines("a"), std::vector<std::string>({"stdout F got 1", "stdout F got 2", "stdout F got 3"}));
}

TEST_P(RootMonitorTest, EndsByItselfAndLeavesTheRecordWhenNobodyIsThere) {
  LaunchOptions options = Prepare("a", {.script = "read x; echo got $x; exit 9", .open_stdin = true});
  sys::Pipe ready = NewPipe(), in = NewPipe();
  pid_t launcher = ::fork();
  if (launcher == 0) {
    Result<State> state = Launch(options, Soon());
    if (state.ok()) state = Start(options.directory, Soon());
    if (state.ok()) IgnoreError(sys::WriteAll(ready.write.get(), std::to_string(state->monitor_pid)));
    ::pause();
    ::_exit(0);
  }
  char text[16] = {};
  ASSERT_GT(::read(ready.read.get(), text, sizeof text - 1), 0);
  Result<sys::PidFd> monitor = sys::PidFd::Open(static_cast<pid_t>(ParseUint64(text).value_or(0)));
  ASSERT_TRUE(monitor.ok()) << text;
  Result<AttachSession> attach = Attach(Dir("a"), {.stdin_fd = in.read.get()});
  ASSERT_TRUE(attach.ok());
  ASSERT_EQ(::kill(launcher, SIGKILL), 0);
  ASSERT_EQ(::waitpid(launcher, nullptr, 0), launcher);
  int64_t before = WallNanos();
  ASSERT_TRUE(sys::WriteAll(in.write.get(), "word\n").ok());
  { AttachSession over = std::move(*attach); }  // from here on no client, and the container ends
  EXPECT_TRUE(monitor->WaitEnded(Soon()));
  EXPECT_EQ(Query(Dir("a"), Soon()).code(), StatusCode::kNotFound);
  ExitRecord exit = ReadExitRecord(Dir("a")).value_or(ExitRecord{-1});
  EXPECT_EQ(exit.code, 9);
  EXPECT_GT(exit.started_at_nanos, 0);
  EXPECT_GE(exit.finished_at_nanos, before);
  EXPECT_EQ(LogLines("a"), std::vector<std::string>({"stdout F got word"}));
  EXPECT_EQ(Start(Dir("a"), Soon()).code(), StatusCode::kNotFound);
}

TEST_P(RootMonitorTest, ExecReturnsOutputAndCode) {
  RunContainer("a", {.script = "sleep 1000"});
  sys::Pipe in = NewPipe(), out = NewPipe(), err = NewPipe();
  ExecOptions options = ExecOf("a", {"/bin/sh", "-c", "cat; echo problem >&2; exit 42"});
  options.stdin_fd = in.read.get();
  options.stdout_fd = out.write.get();
  options.stderr_fd = err.write.get();
  Result<ExecSession> session = Exec(Dir("a"), options, Soon());
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  in.read.reset();
  out.write.reset();
  err.write.reset();
  EXPECT_GT(session->pid(), 0);
  ASSERT_TRUE(sys::WriteAll(in.write.get(), "through").ok());
  in.write.reset();
  EXPECT_EQ(ReadUntil(out.read.get(), ""), "through");
  EXPECT_EQ(ReadUntil(err.read.get(), ""), "problem\n");
  Result<int> code = session->Wait(Soon());
  ASSERT_TRUE(code.ok()) << code.status().ToString();
  EXPECT_EQ(*code, 42);
  EXPECT_EQ(*session->Wait(Soon()), 42);
}

TEST_P(RootMonitorTest, QuickExecsAreAllReaped) {
  RunContainer("a", {.script = "sleep 1000"});
  for (int i = 0; i < 10; ++i) {
    Result<ExecSession> session = Exec(Dir("a"), ExecOf("a", {"/bin/sh", "-c", "exit " + std::to_string(i)}), Soon());
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    EXPECT_EQ(session->Wait(Soon()).value_or(-1), i);
  }
}

TEST_P(RootMonitorTest, ExecOfAMissingProgramIsAnErrorWithText) {
  RunContainer("a", {.script = "sleep 1000"});
  Result<ExecSession> session = Exec(Dir("a"), ExecOf("a", {"/bin/no-such-program"}), Soon());
  ASSERT_FALSE(session.ok());
  EXPECT_EQ(session.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(session.status().message().find("o such file"), std::string::npos) << session.status().ToString();
}

TEST_P(RootMonitorTest, ExecKillTakesTheWholeSession) {
  RunContainer("a", {.script = "sleep 1000"});
  sys::Pipe out = NewPipe();
  ExecOptions options = ExecOf("a", {"/bin/sh", "-c", "sleep 4321 & sleep 4322 & echo up; wait"});
  options.stdout_fd = out.write.get();
  Result<ExecSession> session = Exec(Dir("a"), options, Soon());
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  out.write.reset();
  ASSERT_EQ(ReadUntil(out.read.get(), "up"), "up\n");
  ASSERT_TRUE(session->Kill(Soon()).ok());
  EXPECT_EQ(session->Wait(Soon()).value_or(-1), 137);
  EXPECT_EQ(ReadUntil(out.read.get(), ""), "");  // nobody holds the pipe
  EXPECT_FALSE(sys::PidFd::Open(session->pid()).ok());
}

TEST_P(RootMonitorTest, ExecDiesWithItsSession) {
  RunContainer("a", {.script = "sleep 1000"});
  sys::Pipe out = NewPipe();
  ExecOptions options = ExecOf("a", {"/bin/sh", "-c", "echo up; sleep 4321"});
  options.stdout_fd = out.write.get();
  {
    Result<ExecSession> session = Exec(Dir("a"), options, Soon());
    ASSERT_TRUE(session.ok());
    out.write.reset();
    ASSERT_EQ(ReadUntil(out.read.get(), "up"), "up\n");
  }
  EXPECT_EQ(ReadUntil(out.read.get(), ""), "");
}

TEST_P(RootMonitorTest, ExecWithTerminal) {
  RunContainer("a", {.script = "sleep 1000"});
  Result<ExecSession> session =
      Exec(Dir("a"), ExecOf("a", {"/bin/sh", "-c", "tty; read x; echo [$x]; exit 5"}, true), Soon());
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  sys::UniqueFd terminal = session->TakeTerminal();
  ASSERT_TRUE(terminal.valid());
  EXPECT_NE(ReadUntil(terminal.get(), "\n").find("/dev/pts/"), std::string::npos);
  ASSERT_TRUE(sys::WriteAll(terminal.get(), "hello\n").ok());
  EXPECT_NE(ReadUntil(terminal.get(), "[hello]").find("[hello]"), std::string::npos);
  EXPECT_EQ(session->Wait(Soon()).value_or(-1), 5);
}

TEST_P(RootMonitorTest, AttachCarriesAllThreeStreamsAndStdinOnceEndsTheShell) {
  Spec spec{.open_stdin = true, .stdin_once = true, .argv = {"/bin/sh"}};
  ASSERT_TRUE(Launch(Prepare("a", spec), Soon()).ok());
  sys::Pipe in = NewPipe(), out = NewPipe(), second = NewPipe(), err = NewPipe();
  Result<AttachSession> attach =
      Attach(Dir("a"), {.stdin_fd = in.read.get(), .stdout_fd = out.write.get(), .stderr_fd = err.write.get()});
  ASSERT_TRUE(attach.ok()) << attach.status().ToString();
  Result<AttachSession> other = Attach(Dir("a"), {.stdout_fd = second.write.get()});
  ASSERT_TRUE(other.ok());
  in.read.reset();
  out.write.reset();
  second.write.reset();
  err.write.reset();
  ASSERT_TRUE(Start(Dir("a"), Soon()).ok());
  ASSERT_TRUE(sys::WriteAll(in.write.get(), "echo hello\necho bad >&2\n").ok());
  EXPECT_EQ(ReadUntil(out.read.get(), "\n"), "hello\n");
  EXPECT_EQ(ReadUntil(err.read.get(), "\n"), "bad\n");
  in.write.reset();  // the shell gets end of file
  EXPECT_EQ(WaitExit("a").code, 0);
  EXPECT_EQ(ReadUntil(out.read.get(), ""), "");
  EXPECT_EQ(ReadUntil(second.read.get(), ""), "hello\n");
  pollfd ended = {attach->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 30'000), 1);
  EXPECT_EQ(LogLines("a").size(), 2u);
}

TEST_P(RootMonitorTest, SlowAttachedReaderGetsEveryByte) {
  ASSERT_TRUE(Launch(Prepare("a", {.script = "seq 1 400000", .log = false}), Soon()).ok());
  sys::Pipe out = NewPipe();
  Result<AttachSession> attach = Attach(Dir("a"), {.stdout_fd = out.write.get()});
  ASSERT_TRUE(attach.ok());
  out.write.reset();
  ASSERT_TRUE(Start(Dir("a"), Soon()).ok());
  std::string text = ReadUntil(out.read.get(), "");  // 2.6 MB, through a buffer of 1 MiB
  std::string expected;
  for (int i = 1; i <= 400000; ++i) expected += std::to_string(i) + "\n";
  EXPECT_TRUE(text == expected) << text.size();
  EXPECT_EQ(WaitExit("a").code, 0);
}

TEST_P(RootMonitorTest, TerminalContainerLogsAndResizes) {
  Spec spec{.script = "read x; stty size; echo got $x", .terminal = true, .open_stdin = true};
  RunContainer("a", spec);
  ASSERT_TRUE(ResizeTerminal(Dir("a"), 91, 37).ok());
  sys::Pipe in = NewPipe(), out = NewPipe();
  Result<AttachSession> attach = Attach(Dir("a"), {.stdin_fd = in.read.get(), .stdout_fd = out.write.get()});
  ASSERT_TRUE(attach.ok());
  out.write.reset();
  ASSERT_TRUE(sys::WriteAll(in.write.get(), "me\n").ok());
  EXPECT_NE(ReadUntil(out.read.get(), "got me").find("37 91"), std::string::npos);
  EXPECT_EQ(WaitExit("a").code, 0);
  std::string log = LogText("a");
  EXPECT_NE(log.find("stdout F got me"), std::string::npos) << log;
}

TEST_P(RootMonitorTest, ExitIsToldWhileASurvivorHoldsTheOutput) {
  // Without a PID namespace the background process outlives the first one and keeps its stdout.
  Spec spec{.script = "setsid sleep 1000 & echo bye; exit 7", .host_pid = true};
  RunContainer("a", spec);
  EXPECT_EQ(WaitExit("a").code, 7);
  EXPECT_EQ(LogLines("a"), std::vector<std::string>({"stdout F bye"}));
  EXPECT_EQ(Query(Dir("a"), Soon())->phase, Phase::kExited);
}

TEST_P(RootMonitorTest, DestroyEndsEverything) {
  State state = RunContainer("a", {.script = "sleep 1000"});
  Result<ExecSession> session = Exec(Dir("a"), ExecOf("a", {"/bin/sleep", "4321"}), Soon());
  ASSERT_TRUE(session.ok());
  ASSERT_TRUE(Destroy(Dir("a"), Soon()).ok());
  EXPECT_FALSE(sys::PidFd::Open(state.pid).ok());
  EXPECT_FALSE(sys::PidFd::Open(session->pid()).ok());
  EXPECT_EQ(ReadExitRecord(Dir("a"))->code, 137);
  EXPECT_TRUE(Destroy(Dir("a"), Soon()).ok());
}

TEST_P(RootMonitorTest, AStoppedMonitorIsKilledAndItsLockNamesIt) {
  State state = RunContainer("a", {.script = "sleep 1000"});
  Result<sys::UniqueFd> lock = sys::Open(Dir("a") + "/monitor.lock", O_RDWR);
  ASSERT_TRUE(lock.ok()) << lock.status().ToString();
  struct flock holder {};
  holder.l_type = F_WRLCK;
  ASSERT_EQ(::fcntl(lock->get(), F_GETLK, &holder), 0);
  ASSERT_EQ(holder.l_type, F_WRLCK);
  ASSERT_EQ(::kill(holder.l_pid, SIGSTOP), 0);
  EXPECT_EQ(Query(Dir("a"), Deadline::After(std::chrono::milliseconds(50))).code(), StatusCode::kDeadlineExceeded);
  Status destroyed = Destroy(Dir("a"), Soon(), std::chrono::milliseconds(50));
  EXPECT_TRUE(destroyed.ok()) << destroyed.ToString();
  EXPECT_EQ(Query(Dir("a"), Soon()).code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadExitRecord(Dir("a"))->code, 137);
  EXPECT_TRUE(Destroy(Dir("a"), Soon()).ok());
  ::kill(static_cast<pid_t>(state.pid), SIGKILL);  // in davitd the cgroup's end
}

TEST_P(RootMonitorTest, LaunchPastItsDeadlineLeavesNothing) {
  Result<State> state = Launch(Prepare("a", {.script = "sleep 1000"}), Deadline::After(std::chrono::milliseconds(1)));
  if (state.ok()) return;  // a fast machine
  EXPECT_EQ(Query(Dir("a"), Soon()).code(), StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Root, RootMonitorTest, ::testing::Values("crun", "runc"),
                         [](const auto& chosen) { return chosen.param; });

}  // namespace
}  // namespace davit::monitor
