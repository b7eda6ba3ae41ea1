#include "native/hooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::native {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

oci::Hook Shell(const std::string& script) { return {"/bin/sh", {"hook", "-c", script}, {}, {}}; }

TEST(HooksTest, GetTheStateTheirNameAndTheirEnvironmentAlone) {
  sys::TempDir directory;
  oci::Hook hook =
      Shell("cat > " + directory.path() + "/out; echo \"$0 $A ${HOME-none}\" >> " + directory.path() + "/out");
  hook.args = {"named", "-c", hook.args[2], "zero"};
  hook.env = {"A=1", "PATH=/bin:/usr/bin"};
  Status status = RunHooks({hook}, "prestart", R"({"id":"c1"})");
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(*sys::ReadFile(directory.path() + "/out", 4096), "{\"id\":\"c1\"}zero 1 none\n");
}

TEST(HooksTest, TheFirstThatFailsEndsIt) {
  sys::TempDir directory;
  std::string file = directory.path() + "/ran";
  Status status = RunHooks({Shell(":"), Shell("echo broken >&2; exit 3"), Shell(": > " + file)}, "createRuntime", "{}");
  EXPECT_EQ(status.message(), "hooks.createRuntime[1] /bin/sh: exit status 3: broken");
  EXPECT_FALSE(sys::ReadFile(file, 1).ok());
}

TEST(HooksTest, ATimeoutKillsWhatTheHookHasStarted) {
  oci::Hook hook = Shell("sleep 600 & wait");
  hook.timeout = 1;
  Status status = RunHooks({hook}, "prestart", "{}");
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("timeout of 1 s"));
}

TEST(HooksTest, AfterTheContainerEachRuns) {
  sys::TempDir directory;
  std::string file = directory.path() + "/ran";
  auto failures = RunAllHooks({Shell("exit 1"), {"/nowhere", {}, {}, {}}, Shell(": > " + file)}, "poststop", "{}");
  ASSERT_THAT(failures, SizeIs(2));
  EXPECT_THAT(failures[1], StartsWith("hooks.poststop[1] /nowhere:"));
  EXPECT_TRUE(sys::ReadFile(file, 1).ok());
}

}  // namespace
}  // namespace davit::native
