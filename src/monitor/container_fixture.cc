#include "monitor/container_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/strings.h"
#include "monitor/log_writer.h"
#include "sys/atomic_file.h"
#include "sys/process.h"

namespace davit::monitor::testing {
namespace {

constexpr size_t kMaxLog = 256 * 1024 * 1024;
constexpr const char* kSanitizerReport = "sanitizer";

std::string Quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string QuoteAll(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(Quote(text));
  return "[" + Join(quoted, ",") + "]";
}

bool OnPath(const std::string& program) {
  for (const char* directory : {"/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"}) {
    if (::access((directory + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

Result<sys::CommandResult> RunTool(const std::vector<std::string>& argv) {
  sys::SpawnOptions options;
  options.argv = argv;
  options.env = sys::MinimalEnvironment();
  return sys::RunCommand(options, "", 1 << 20, Soon());
}

void MakeRootfs(const std::string& path) {
  ASSERT_TRUE(sys::MakeDirectories(path + "/bin", 0755).ok());
  for (const char* directory : {"/proc", "/dev", "/tmp", "/sys"}) {
    ASSERT_TRUE(sys::MakeDirectories(path + directory, 0755).ok());
  }
  ASSERT_TRUE(RunTool({"cp", "-L", "/bin/busybox", path + "/bin/busybox"}).ok());
  for (const char* tool :
       {"sh", "cat", "echo", "sleep", "seq", "dd", "head", "tail", "tty", "yes", "true", "setsid", "stty"}) {
    ASSERT_EQ(::symlink("busybox", (path + "/bin/" + tool).c_str()), 0);
  }
}

}  // namespace

Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

void ContainerFixture::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "containers need root";
  if (!OnPath("busybox") || !OnPath(GetParam())) GTEST_SKIP() << "busybox or " << GetParam() << " is not installed";
  if (::access(DAVIT_MONITOR_BINARY, X_OK) != 0) GTEST_SKIP() << "davit-monitor is not built";
  char name[] = "/tmp/davit-monitor-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  root_ = name;
  MakeRootfs(root_ + "/rootfs");
  Spec probe;
  probe.script = "true";
  LaunchOptions options = Prepare("probe", probe);
  Result<State> state = Launch(options, Soon());
  // kInternal is the runtime's own refusal; any other code is the monitor's fault and no reason to skip.
  const std::string why = state.status().ToString();
  if (state.code() == StatusCode::kInternal) GTEST_SKIP() << GetParam() << " makes no container here: " << why;
  ASSERT_TRUE(state.ok()) << why;
  ASSERT_TRUE(Destroy(Dir("probe"), Soon()).ok());
}

void ContainerFixture::TearDown() {
  for (const std::string& name : names_) {
    EXPECT_TRUE(Destroy(Dir(name), Soon()).ok());
    std::vector<std::string> argv = RuntimeArgv(name, "delete.log");
    argv.insert(argv.end(), {"delete", "--force", name + root_.substr(root_.size() - 6)});
    IgnoreError(RunTool(argv).status());
  }
  if (root_.empty()) return;
  for (const auto& entry : std::filesystem::directory_iterator(root_)) {
    if (entry.path().filename().string().starts_with(kSanitizerReport)) {
      ADD_FAILURE() << sys::ReadFile(entry.path().string(), kMaxLog).value_or("");
    }
  }
  EXPECT_TRUE(sys::RemoveTree(root_).ok());
}

std::vector<std::string> ContainerFixture::RuntimeArgv(const std::string& name, const std::string& log) const {
  return {GetParam(), "--root", root_ + "/state", "--log", Dir(name) + "/" + log, "--log-format", "json"};
}

LaunchOptions ContainerFixture::Prepare(const std::string& name, const Spec& spec) {
  names_.push_back(name);
  const std::string dir = Dir(name), id = name + root_.substr(root_.size() - 6), cgroup = "/davit-test-" + id;
  EXPECT_TRUE(sys::MakeDirectories(dir, 0700).ok());
  std::vector<std::string> argv =
      spec.argv.empty() ? std::vector<std::string>{"/bin/sh", "-c", spec.script} : spec.argv;
  std::string pid_namespace = spec.host_pid ? "" : R"({"type":"pid"},)";
  std::string memory = spec.memory_limit == 0
                           ? ""
                           : R"("resources":{"memory":{"limit":)" + std::to_string(spec.memory_limit) + R"(,"swap":)" +
                                 std::to_string(spec.memory_limit) + "}},";
  std::string config =
      R"({"ociVersion":"1.0.0","process":{"terminal":)" + std::string(spec.terminal ? "true" : "false") +
      R"(,"user":{"uid":0,"gid":0},"cwd":"/","env":["PATH=/bin"],"args":)" + QuoteAll(argv) + R"(},"root":{"path":")" +
      root_ +
      R"(/rootfs"},"hostname":"t","mounts":[)"
      R"({"destination":"/proc","type":"proc","source":"proc"},)"
      R"({"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]},)"
      R"({"destination":"/dev/pts","type":"devpts","source":"devpts","options":["newinstance","ptmxmode=0666"]}],)"
      R"("linux":{"cgroupsPath":")" +
      cgroup + R"(",)" + memory + R"("namespaces":[)" + pid_namespace +
      R"({"type":"mount"},{"type":"uts"},{"type":"ipc"}]}})";
  EXPECT_TRUE(sys::WriteFileAtomic(dir + "/config.json", config, 0600, sys::Durability::kAtomic).ok());
  LaunchOptions options;
  options.monitor_path = DAVIT_MONITOR_BINARY;
  options.directory = dir;
  if (spec.log) options.log_path = dir + "/log";
  options.terminal = spec.terminal;
  options.open_stdin = spec.open_stdin;
  options.stdin_once = spec.stdin_once;
  options.environment = sys::MinimalEnvironment();
  // A sanitized monitor has no other place to complain; TearDown looks there.
  for (const char* variable : {"ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}) {
    options.environment.push_back(std::string(variable) + "=log_path=" + root_ + "/" + kSanitizerReport);
  }
  options.pid_file = dir + "/pid";
  options.console_socket = dir + "/console.sock";
  options.runtime_log = dir + "/runtime.log";
  options.oom_file = "/sys/fs/cgroup/memory" + cgroup + "/memory.oom_control";
  options.create_argv = RuntimeArgv(name, "runtime.log");
  options.create_argv.insert(options.create_argv.end(), {"create", "--bundle", dir, "--pid-file", options.pid_file});
  if (spec.terminal)
    options.create_argv.insert(options.create_argv.end(), {"--console-socket", options.console_socket});
  options.create_argv.push_back(id);
  options.start_argv = RuntimeArgv(name, "runtime.log");
  options.start_argv.insert(options.start_argv.end(), {"start", id});
  return options;
}

State ContainerFixture::RunContainer(const std::string& name, const Spec& spec) {
  Result<State> state = Launch(Prepare(name, spec), Soon());
  EXPECT_TRUE(state.ok()) << state.status().ToString();
  if (!state.ok()) return {};
  state = Start(Dir(name), Soon());
  EXPECT_TRUE(state.ok()) << state.status().ToString();
  return state.ok() ? *state : State{};
}

ExecOptions ContainerFixture::ExecOf(const std::string& name, const std::vector<std::string>& argv, bool terminal) {
  static int count = 0;  // tests run one after another in this process
  std::string prefix = Dir(name) + "/exec" + std::to_string(++count);
  ExecOptions options;
  options.pid_file = prefix + ".pid";
  options.runtime_log = prefix + ".log";
  options.terminal = terminal;
  options.argv = {GetParam(), "--root", root_ + "/state", "--log",      options.runtime_log, "--log-format",
                  "json",     "exec",   "--detach",       "--pid-file", options.pid_file};
  if (terminal) {
    options.console_socket = prefix + ".sock";
    options.argv.insert(options.argv.end(), {"--tty", "--console-socket", options.console_socket});
  }
  options.argv.push_back(name + root_.substr(root_.size() - 6));
  options.argv.insert(options.argv.end(), argv.begin(), argv.end());
  return options;
}

ExitRecord ContainerFixture::WaitExit(const std::string& name) {
  Result<sys::UniqueFd> watch = Watch(Dir(name));
  while (watch.ok()) {
    Result<std::optional<State>> state = ReadState(watch->get());
    if (!state.ok() || !*state) break;
    if ((*state)->phase == Phase::kExited) return (*state)->exit.value_or(ExitRecord{-1});
  }
  return ReadExitRecord(Dir(name)).value_or(ExitRecord{-1});
}

std::string ContainerFixture::LogText(const std::string& name, const std::string& file) {
  return sys::ReadFile(Dir(name) + "/" + file, kMaxLog).value_or("");
}

std::vector<std::string> ContainerFixture::LogLines(const std::string& name, const std::string& file) {
  std::vector<std::string> lines = Split(LogText(name, file), '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  for (std::string& line : lines) line = line.substr(std::min(line.size(), kTimestampBytes + 1));
  return lines;
}

}  // namespace davit::monitor::testing
