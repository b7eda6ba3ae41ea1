// Real containers from a busybox root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strings.h"
#include "native/container.h"
#include "native/exec.h"
#include "native/native_fixture.h"
#include "sys/unix_socket.h"

namespace davit::native {
namespace {

using ::testing::HasSubstr;
using testing::NativeFixture;
using ::testing::Not;

class RootContainerTest : public NativeFixture {};

TEST_F(RootContainerTest, RunsAProgramWithItsOutput) {
  EXPECT_EQ(Run("echo hello; exit 3"), "hello\n");
  EXPECT_EQ(exit_code_, 3);
}

TEST_F(RootContainerTest, IsAloneInItsNamespaces) {
  std::string out = Run("echo $$; hostname; ls /proc | grep -c '^[0-9]'; ls /sys/class/net");
  EXPECT_THAT(out, HasSubstr("1\ninside\n"));
  EXPECT_THAT(out, HasSubstr("\nlo\n"));
}

TEST_F(RootContainerTest, HasNoDescriptorsButItsStreams) { EXPECT_EQ(Run("ls /proc/1/fd | tr '\\n' ' '"), "0 1 2 "); }

TEST_F(RootContainerTest, SeesNothingOfTheNodesMounts) {
  std::string out = Run("cat /proc/self/mountinfo | cut -d' ' -f5");
  EXPECT_THAT(Split(out, '\n').size(), ::testing::Lt(60u)) << out;
  EXPECT_THAT(out, Not(HasSubstr("/oldroot")));
}

TEST_F(RootContainerTest, MasksFilesAndDirectories) {
  spec_.linux_.masked_paths = {"/proc/cpuinfo", "/proc/irq", "/sys/kernel", "/not/there"};
  EXPECT_EQ(
      Run("cat /proc/cpuinfo | wc -c; ls /proc/irq /sys/kernel | grep -v : | tr -d '\\n'; stat -c %t:%T /proc/cpuinfo; "
          "touch /proc/irq/x 2>&1 | cut -d: -f3; (echo x > /proc/sys/kernel/domainname) 2>&1 | cut -d: -f3"),
      "0\n1:3\n Read-only file system\n Read-only file system\n");
}

TEST_F(RootContainerTest, WaitsForItsStart) {
  spec_.process.args = {"/bin/sh", "-c", "echo started"};
  ASSERT_TRUE(Create().ok());
  EXPECT_TRUE(Start(socket_, Soon()).ok());
  EXPECT_EQ(Output(), "started\n");
  EXPECT_EQ(Start(socket_, Soon()).code(), StatusCode::kFailedPrecondition);
}

TEST_F(RootContainerTest, SaysAtCreateThatThereIsNoProgram) {
  spec_.process.args = {"nothing-here"};
  Result<Created> made = Create();
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(made.status().message(), HasSubstr("exec: \"nothing-here\": executable file not found in $PATH"));
}

TEST_F(RootContainerTest, SaysAtStartWhatTheUserMayNot) {
  WriteFile("bin/secret", "#!/bin/sh\n", 0700);
  spec_.process.args = {"/bin/secret"};
  spec_.process.user.uid = 1000;
  spec_.process.capabilities = oci::CapabilitySets{};
  ASSERT_TRUE(Create().ok());
  Status started = Start(socket_, Soon());
  EXPECT_EQ(started.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(started.message(), HasSubstr("exec: \"/bin/secret\": permission denied"));
}

TEST_F(RootContainerTest, NamesTheMountThatFails) {
  spec_.process.args = {"true"};
  spec_.mounts.push_back({"/data", "bind", "/does/not/exist", {"rbind"}, {}, {}});
  Result<Created> made = Create();
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.status().message(), HasSubstr("mounts[" + std::to_string(spec_.mounts.size() - 1) + "] /data: "));
  EXPECT_THAT(made.status().message(), HasSubstr("/does/not/exist: No such file"));
}

TEST_F(RootContainerTest, TakesUserGroupsAndCapabilities) {
  spec_.process.user = {1000, 1001, 0027, {7, 8}};
  spec_.process.capabilities =
      oci::CapabilitySets{{"CAP_CHOWN", "CAP_KILL"}, {"CAP_KILL"}, {"CAP_KILL"}, {"CAP_KILL"}, {"CAP_KILL"}};
  std::string out = Run("id -u; id -g; id -G; umask; grep Cap /proc/self/status");
  EXPECT_THAT(out, HasSubstr("1000\n1001\n1001 7 8\n0027\n"));
  EXPECT_THAT(out, HasSubstr("CapBnd:\t0000000000000021"));
  EXPECT_THAT(out, HasSubstr("CapAmb:\t0000000000000020"));
  EXPECT_THAT(out, HasSubstr("CapPrm:\t0000000000000020"));
}

TEST_F(RootContainerTest, RunsInAUserNamespaceOfItsOwn) {
  spec_.linux_.namespaces.push_back({"user", ""});
  spec_.linux_.uid_mappings = {{0, 100000, 65536}};
  spec_.linux_.gid_mappings = {{0, 100000, 65536}};
  OwnRootfs(100000);
  EXPECT_EQ(
      Run("id -u; cat /proc/self/uid_map | tr -s ' '; echo x > /dev/null && echo null; touch /f && stat -c %u /f"),
      "0\n 0 100000 65536\nnull\n0\n");
}

TEST_F(RootContainerTest, HasATerminal) {
  spec_.process.terminal = true;
  spec_.process.console_size = oci::ConsoleSize{101, 33};
  EXPECT_THAT(Run("tty; stty size; ls -l /dev/console | cut -c1"), HasSubstr("/dev/pts/0\r\n33 101\r\nc\r\n"));
}

TEST_F(RootContainerTest, ExecJoinsTheContainer) {
  spec_.process.args = {"/bin/sleep", "100"};
  Result<Created> made = Create();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ASSERT_TRUE(Start(socket_, Soon()).ok());
  EXPECT_EQ(Exec(*made, "hostname; ls /proc/self/fd | wc -l; cat /proc/1/cmdline | tr '\\0' ' '; exit 4"),
            "inside\n4\n/bin/sleep 100 ");
  EXPECT_EQ(exit_code_, 4);
}

}  // namespace
}  // namespace davit::native
