#include "sys/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/strings.h"
#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

SpawnOptions Shell(const std::string& script) {
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", script};
  options.env = MinimalEnvironment();
  return options;
}

Result<CommandResult> RunShell(const std::string& script, std::string_view input = "") {
  return RunCommand(Shell(script), input, 1 << 20, Deadline::After(seconds(60)));
}

// What the spawned program's descriptor 1 got, until its end.
std::string SpawnAndRead(SpawnOptions options) {
  auto pipe = MakePipe();
  options.fds.emplace_back(pipe->write.get(), 1);
  auto process = Spawn(options);
  EXPECT_TRUE(process.ok()) << process.status().ToString();
  pipe->write.reset();
  std::string text = ReadAll(pipe->read.get(), 1 << 20).value_or("");
  EXPECT_TRUE(process->Reap(Deadline::Infinite()).ok());
  return text;
}

TEST(SpawnTest, ChildHasExactlyTheNamedDescriptors) {
  // Not close-on-exec on purpose: only close_range keeps them out.
  UniqueFd leak(::open("/dev/null", O_RDONLY));  // NOLINT
  UniqueFd high(::fcntl(leak.get(), F_DUPFD, 200));
  SpawnOptions options;
  options.argv = {"ls", "/proc/self/fd"};
  options.env = MinimalEnvironment();
  options.fds = {{leak.get(), 5}, {leak.get(), 9}};
  // 3 is the directory that ls itself has open.
  EXPECT_EQ(SpawnAndRead(options), "0\n1\n2\n3\n5\n9\n");
}

TEST(SpawnTest, OverlappingNumbersAreExchanged) {
  TempDir dir;
  ASSERT_TRUE(WriteFileAtomic(dir.At("a"), "A", 0600, Durability::kAtomic).ok());
  ASSERT_TRUE(WriteFileAtomic(dir.At("b"), "B", 0600, Durability::kAtomic).ok());
  auto a = Open(dir.At("a"), O_RDONLY);
  auto b = Open(dir.At("b"), O_RDONLY);
  SpawnOptions options = Shell("cat <&" + std::to_string(a->get()) + "; cat <&" + std::to_string(b->get()));
  options.fds = {{a->get(), b->get()}, {b->get(), a->get()}};
  EXPECT_EQ(SpawnAndRead(options), "BA");
}

TEST(SpawnTest, RefusesANumberNamedTwice) {
  SpawnOptions options = Shell("true");
  options.fds = {{0, 7}, {1, 7}};
  EXPECT_EQ(Spawn(options).code(), StatusCode::kInvalidArgument);
}

TEST(SpawnTest, ErrorsNameTheProgram) {
  TempDir dir;
  ASSERT_TRUE(WriteFileAtomic(dir.At("plain"), "#!/bin/sh\n", 0644, Durability::kAtomic).ok());
  SpawnOptions options;
  options.argv = {"/nonexistent/program"};
  auto missing = Spawn(options);
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("/nonexistent/program"), std::string::npos);
  options.argv = {"davit-no-such-program"};
  EXPECT_EQ(Spawn(options).code(), StatusCode::kNotFound);
  options.argv = {dir.At("plain")};
  EXPECT_EQ(Spawn(options).code(), StatusCode::kPermissionDenied);
  options = Shell("true");
  options.cwd = dir.At("none");
  auto cwd = Spawn(options);
  EXPECT_EQ(cwd.code(), StatusCode::kNotFound);
  EXPECT_NE(cwd.status().message().find(options.cwd), std::string::npos) << cwd.status().ToString();
  options.argv = {};
  EXPECT_EQ(Spawn(options).code(), StatusCode::kInvalidArgument);
}

TEST(SpawnTest, FailuresLeakNoDescriptor) {
  SpawnOptions options;
  options.argv = {"/nonexistent/program"};
  UniqueFd before(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  int lowest = before.get();
  before.reset();
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Spawn(options).ok());
  UniqueFd after(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(after.get(), lowest);
}

TEST(SpawnTest, EnvironmentDirectoryAndSessionAreAsAsked) {
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "echo $ONLY; pwd; cut -d' ' -f1,6 /proc/$$/stat"};
  options.env = {"ONLY=this", "PATH=/usr/bin:/bin"};
  options.cwd = "/";
  options.new_session = true;
  std::vector<std::string> lines = Split(SpawnAndRead(options), '\n');
  ASSERT_GE(lines.size(), 3U);
  EXPECT_EQ(lines[0], "this");
  EXPECT_EQ(lines[1], "/");
  std::vector<std::string> ids = Split(lines[2], ' ');
  ASSERT_EQ(ids.size(), 2U);
  EXPECT_EQ(ids[0], ids[1]);
}

TEST(SpawnTest, SignalsAreResetInTheChild) {
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction before;
  ASSERT_EQ(::sigaction(SIGPIPE, &ignore, &before), 0);
  sigset_t block;
  sigset_t mask;
  sigemptyset(&block);
  sigaddset(&block, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &block, &mask);
  SpawnOptions options;  // no shell: it blocks signals itself while it waits
  options.argv = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"};
  std::string text = SpawnAndRead(options);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  ::sigaction(SIGPIPE, &before, nullptr);
  EXPECT_EQ(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(SpawnTest, OomScoreIsSetForTheChildOnly) {
  std::string own = *ReadFile("/proc/self/oom_score_adj", 64);
  SpawnOptions options = Shell("cat /proc/self/oom_score_adj");
  options.oom_score_adj = 777;
  EXPECT_EQ(SpawnAndRead(options), "777\n");
  EXPECT_EQ(*ReadFile("/proc/self/oom_score_adj", 64), own);
}

TEST(SpawnTest, ManyThreadsSpawnAtOnce) {
  std::vector<std::thread> threads;
  std::array<int, 4> good = {};
  for (size_t t = 0; t < good.size(); ++t) {
    threads.emplace_back([&good, t] {
      for (int i = 0; i < 20; ++i) {
        auto process = Spawn(Shell("exit 3"));
        if (!process.ok()) continue;
        auto exit = process->Reap(Deadline::Infinite());
        if (exit.ok() && exit->code == 3) ++good[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int count : good) EXPECT_EQ(count, 20);
}

TEST(PidFdTest, OpensSignalsAndReaps) {
  auto process = Spawn(Shell("exec sleep 1000"));
  ASSERT_TRUE(process.ok());
  auto second = PidFd::Open(process->pid());
  ASSERT_TRUE(second.ok());
  EXPECT_FALSE(second->WaitEnded(Deadline::After(milliseconds(0))));
  EXPECT_EQ(process->Reap(Deadline::After(milliseconds(0))).code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(second->Signal(SIGKILL).ok());
  EXPECT_TRUE(second->WaitEnded(Deadline::Infinite()));
  auto exit = process->Reap(Deadline::Infinite());
  ASSERT_TRUE(exit.ok());
  EXPECT_EQ(exit->code, 137);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_TRUE(process->Signal(SIGTERM).ok());  // gone is OK
  EXPECT_EQ(process->Reap(Deadline::Infinite()).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(PidFd::Open(0x3fffffff).code(), StatusCode::kNotFound);
}

TEST(RunCommandTest, PassesInputAndSeparatesTheOutputs) {
  auto result = RunShell("cat; echo oops >&2; exit 7", "hello");
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->out, "hello");
  EXPECT_EQ(result->err, "oops\n");
  EXPECT_EQ(result->exit.code, 7);
  EXPECT_EQ(result->exit.signal, 0);
}

TEST(RunCommandTest, LargeInputAndOutputDoNotBlockEachOther) {
  std::string input(3 << 20, 'i');
  auto result = RunCommand(Shell("cat"), input, 4 << 20, Deadline::After(seconds(60)));
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_TRUE(result->out == input);
}

TEST(RunCommandTest, InputThatNobodyReadsIsNoError) {
  std::string input(1 << 20, 'i');
  auto result = RunShell("exit 0", input);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->exit.code, 0);
}

TEST(RunCommandTest, OutputIsCappedAndTheRestIsDropped) {
  auto result = RunCommand(Shell("head -c 1000000 /dev/zero; echo end >&2"), "", 1000, Deadline::After(seconds(60)));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out.size(), 1000U);
  EXPECT_EQ(result->err, "end\n");
  EXPECT_EQ(result->exit.code, 0);
}

TEST(RunCommandTest, SignalDeathIsCode137) {
  auto result = RunShell("kill -9 $$");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exit.code, 137);
  EXPECT_EQ(result->exit.signal, SIGKILL);
}

TEST(RunCommandTest, DeadlineKillsTheWholeGroup) {
  TempDir dir;
  // The grandchild holds the FIFO open for writing; end of file on it tells that it died too.
  ASSERT_EQ(::mkfifo(dir.At("fifo").c_str(), 0600), 0);
  UniqueFd reader(::open(dir.At("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  SpawnOptions options = Shell("sleep 1000 > " + dir.At("fifo") + " & echo started; wait");
  auto result = RunCommand(options, "", 100, Deadline::After(milliseconds(300)));
  EXPECT_EQ(result.code(), StatusCode::kDeadlineExceeded);
  EXPECT_NE(result.status().message().find("/bin/sh"), std::string::npos);
  ASSERT_TRUE(SetNonBlocking(reader.get(), false).ok());
  EXPECT_EQ(ReadAll(reader.get(), 10).value_or("failed"), "");
}

TEST(RunCommandTest, ABackgroundProcessWithThePipeDoesNotHoldTheResult) {
  auto result = RunShell("sleep 1000 & echo $!");
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  auto pid = ParseUint64(Trim(result->out));
  ASSERT_TRUE(pid.has_value());
  EXPECT_EQ(::kill(static_cast<pid_t>(*pid), SIGKILL), 0);  // still there: not ours to kill before
}

TEST(RunCommandTest, StandardNumbersAreItsOwn) {
  SpawnOptions options = Shell("true");
  options.fds = {{0, 1}};
  EXPECT_EQ(RunCommand(options, "", 10, Deadline::Infinite()).code(), StatusCode::kInvalidArgument);
}

TEST(ProcessTest, StartTimeSurvivesAnOddName) {
  TempDir dir;
  auto own = ProcessStartTime(::getpid());
  ASSERT_TRUE(own.ok());
  EXPECT_GT(*own, 0U);
  EXPECT_EQ(*own, *ProcessStartTime(::getpid()));
  std::string odd = dir.At("a) b (c");
  ASSERT_EQ(::symlink("/bin/sleep", odd.c_str()), 0);
  SpawnOptions options;
  options.argv = {odd, "1000"};
  auto process = Spawn(options);
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  auto start = ProcessStartTime(process->pid());
  ASSERT_TRUE(start.ok()) << start.status().ToString();
  EXPECT_GE(*start, *own);
  ASSERT_TRUE(process->Signal(SIGKILL).ok());
  ASSERT_TRUE(process->Reap(Deadline::Infinite()).ok());
  EXPECT_EQ(ProcessStartTime(process->pid()).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::sys
