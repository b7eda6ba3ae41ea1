#include "native/native_fixture.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "native/exec.h"
#include "sys/unix_socket.h"

namespace davit::native::testing {
namespace {

constexpr const char* kBusybox = "/bin/busybox";
constexpr size_t kMaxOutput = 1 << 20;

}  // namespace

Deadline NativeFixture::Soon() { return Deadline::After(std::chrono::seconds(60)); }

void NativeFixture::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "containers need root";
  if (::access(kBusybox, X_OK) != 0) GTEST_SKIP() << "no busybox";
  std::string name = ::testing::TempDir() + "native.XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  ::chmod(name.c_str(), 0755);
  directory_ = name;
  std::filesystem::create_directories(Rootfs() + "/bin");
  std::filesystem::create_directories(Rootfs() + "/etc");
  std::filesystem::create_directories(Rootfs() + "/tmp");
  std::filesystem::copy_file(kBusybox, Rootfs() + "/bin/busybox");
  for (const char* tool :
       {"sh",   "cat", "echo", "sleep",  "ls",   "grep",  "id",    "hostname", "stat",   "touch",    "tty",    "stty",
        "cut",  "tr",  "wc",   "mount",  "ln",   "mkdir", "rm",    "mv",       "true",   "readlink", "umount", "head",
        "nice", "env", "pwd",  "ulimit", "kill", "ps",    "chmod", "date",     "sysctl", "test",     "["}) {
    std::filesystem::create_symlink("busybox", Rootfs() + "/bin/" + tool);
  }
  socket_ = directory_ + "/start.sock";
  spec_.process.env = {"PATH=/bin"};
  spec_.process.capabilities =
      oci::CapabilitySets{oci::DefaultCapabilities(), oci::DefaultCapabilities(), {}, oci::DefaultCapabilities(), {}};
  spec_.hostname = "inside";
  spec_.mounts = oci::DefaultMounts();
  spec_.mounts.push_back(
      {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}, {}, {}});
  for (const char* type : {"pid", "network", "mount", "ipc", "uts", "cgroup"})
    spec_.linux_.namespaces.push_back({type, ""});
  spec_.linux_.masked_paths = oci::DefaultMaskedPaths();
  spec_.linux_.readonly_paths = oci::DefaultReadonlyPaths();
  options_.id = "test";
  options_.bundle = directory_ + "/bundle";
}

void NativeFixture::TearDown() {
  for (pid_t pid : pids_) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  if (directory_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

Result<Created> NativeFixture::Create() {
  ASSIGN_OR_RETURN(sys::UniqueFd listener, sys::ListenUnix(socket_, SOCK_SEQPACKET));
  ASSIGN_OR_RETURN(sys::Pipe output, sys::MakePipe());
  options_.start_listener = listener.get();
  options_.streams = {-1, output.write.get(), output.write.get()};
  sys::UniqueFd child_console;
  if (spec_.process.terminal) {
    ASSIGN_OR_RETURN(auto pair, sys::MakeSocketPair(SOCK_STREAM));
    console_ = std::move(pair.first);
    child_console = std::move(pair.second);
    options_.console = child_console.get();
  }
  output_ = std::move(output.read);
  ASSIGN_OR_RETURN(Created made, CreateContainer(spec_, options_));
  pids_.push_back(made.pid);
  return made;
}

void NativeFixture::Reap(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  pids_.erase(std::remove(pids_.begin(), pids_.end(), pid), pids_.end());
}

std::string NativeFixture::Output() { return sys::ReadAll(output_.get(), kMaxOutput).value_or("<no output>"); }

// A master says EIO when the last slave is closed.
std::string NativeFixture::ReadTerminal() {
  Result<sys::Message> message = sys::ReceiveWithFds(console_.get(), 4096, Soon());
  if (!message.ok() || message->fds.size() != 1) return "<no terminal>";
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(message->fds[0].get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  return text;
}

std::string NativeFixture::Run(const std::string& script) {
  spec_.process.args = {"/bin/sh", "-c", script};
  Result<Created> made = Create();
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  if (!made.ok()) return "";
  Status started = Start(socket_, Soon());
  EXPECT_TRUE(started.ok()) << started.ToString();
  std::string output = spec_.process.terminal ? ReadTerminal() : Output();
  Reap(made->pid);
  return output;
}

std::string NativeFixture::Exec(const Created& container, const std::string& script) {
  oci::Process process = spec_.process;
  process.args = {"/bin/sh", "-c", script};
  Result<sys::Pipe> output = sys::MakePipe();
  ExecOptions options;
  options.id = options_.id;
  options.init_pid = container.pid;
  options.init_pidfd = container.pidfd.get();
  options.streams = {-1, output->write.get(), output->write.get()};
  Result<Created> made = ExecInContainer(spec_, process, options);
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  if (!made.ok()) return "";
  pids_.push_back(made->pid);
  output->write.reset();
  std::string text = sys::ReadAll(output->read.get(), kMaxOutput).value_or("<no output>");
  Reap(made->pid);
  return text;
}

void NativeFixture::Discard(const Created& container) {
  ::kill(container.pid, SIGKILL);
  Reap(container.pid);
}

void NativeFixture::WriteFile(const std::string& path, const std::string& text, unsigned mode) {
  std::ofstream(Rootfs() + "/" + path) << text;
  ::chmod((Rootfs() + "/" + path).c_str(), mode);
}

void NativeFixture::OwnRootfs(uint32_t uid) {
  ::lchown(Rootfs().c_str(), uid, uid);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Rootfs()))
    ::lchown(entry.path().c_str(), uid, uid);
}

}  // namespace davit::native::testing
