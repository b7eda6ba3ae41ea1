#include "native/state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/json.h"
#include "sys/temp_dir.h"

namespace davit::native {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Record SomeRecord() {
  Record record;
  record.id = "c1";
  record.bundle = "/b";
  record.oci_version = "1.2.0";
  record.annotations = {{"a", "b"}};
  record.phase = Phase::kStarted;
  record.process = *NameOf(::getpid());
  record.cgroup = "/x/c1";
  return record;
}

TEST(StateTest, IsWhatWasWritten) {
  sys::TempDir root;
  auto state = ContainerState::Create(root.path() + "/new", "c1");
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  ASSERT_TRUE(state->Save(SomeRecord()).ok());
  auto opened = ContainerState::Open(root.path() + "/new", "c1");
  ASSERT_TRUE(opened.ok());
  auto record = opened->Load();
  ASSERT_TRUE(record.ok()) << record.status().ToString();
  EXPECT_EQ(record->annotations.at("a"), "b");
  EXPECT_EQ(record->process.pid, ::getpid());
  EXPECT_EQ(record->cgroup, "/x/c1");
  EXPECT_THAT(*ContainerState::List(root.path() + "/new"), ElementsAre("c1"));
  EXPECT_EQ(ContainerState::Create(root.path() + "/new", "c1").code(), StatusCode::kAlreadyExists);
  ASSERT_TRUE(state->Remove().ok());
  EXPECT_EQ(ContainerState::Open(root.path() + "/new", "c1").code(), StatusCode::kNotFound);
}

TEST(StateTest, NamesThatArePathsAreNone) {
  for (const char* id : {"", ".", "..", "a/b", "../x", "a b", "a\n"}) {
    EXPECT_EQ(CheckContainerId(id).code(), StatusCode::kInvalidArgument) << id;
  }
  EXPECT_TRUE(CheckContainerId("A_b+c-1.2").ok());
  EXPECT_FALSE(CheckContainerId(std::string(256, 'a')).ok());
}

TEST(StateTest, APidAloneIsNoProcess) {
  Record record = SomeRecord();
  EXPECT_EQ(StatusOf(record, false), ContainerStatus::kRunning);
  EXPECT_EQ(StatusOf(record, true), ContainerStatus::kPaused);
  record.process.start_time += 1;  // another that has got the number since
  EXPECT_EQ(StatusOf(record, false), ContainerStatus::kStopped);
  EXPECT_EQ(FindProcess({}).code(), StatusCode::kNotFound);
}

TEST(StateTest, AProcessThatHasEndedIsStoppedBeforeItIsReaped) {
  pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) ::_exit(0);
  siginfo_t info = {};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  Record record = SomeRecord();
  record.process = *NameOf(pid);
  EXPECT_EQ(StatusOf(record, false), ContainerStatus::kStopped);
  ::waitpid(pid, nullptr, 0);
}

TEST(StateTest, ACreationThatDiedIsStopped) {
  Record record = SomeRecord();
  record.phase = Phase::kCreating;
  record.creator = *NameOf(::getpid());
  EXPECT_EQ(StatusOf(record, false), ContainerStatus::kCreating);
  record.creator.start_time += 1;
  EXPECT_EQ(StatusOf(record, false), ContainerStatus::kStopped);
}

TEST(StateTest, ALockGoesWithItsProcessAndNotToItsChildren) {
  sys::TempDir root;
  ASSERT_TRUE(ContainerState::Create(root.path(), "c1").ok());
  int held[2];
  int end[2];
  ASSERT_EQ(::pipe(held), 0);
  ASSERT_EQ(::pipe(end), 0);
  pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    auto state = ContainerState::Open(root.path(), "c1");
    if (!state.ok() || !state->Lock().ok()) ::_exit(1);
    if (::fork() == 0) {  // holds the same open files, as a container's first process does before its start
      char byte = 0;
      ::close(end[1]);
      ::_exit(::read(end[0], &byte, 1) == 0 ? 0 : 1);
    }
    if (::write(held[1], "x", 1) != 1) ::_exit(1);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(held[0], &byte, 1), 1);
  ::waitpid(pid, nullptr, 0);
  auto state = ContainerState::Open(root.path(), "c1");
  ASSERT_TRUE(state.ok());
  EXPECT_TRUE(state->Lock().ok()) << "the grandchild holds it";
  for (int fd : {held[0], held[1], end[0], end[1]}) ::close(fd);
}

TEST(StateTest, TellsTheStateAsTheSpecificationWantsIt) {
  auto document = oci::ParseJson(StateJson(SomeRecord(), ContainerStatus::kStopped, 7));
  ASSERT_TRUE(document.ok());
  oci::JsonNode root(*document, "");
  EXPECT_EQ(*root.Key("ociVersion").String(), "1.2.0");
  EXPECT_EQ(*root.Key("pid").Int64(), 0) << "of one that has ended";
  EXPECT_EQ(*root.Key("status").String(), "stopped");
  EXPECT_EQ(*root.Key("annotations").Key("a").String(), "b");
  EXPECT_THAT(StateJson(SomeRecord(), ContainerStatus::kCreating, 7), HasSubstr(R"("pid":7,"status":"creating")"));
}

}  // namespace
}  // namespace davit::native
