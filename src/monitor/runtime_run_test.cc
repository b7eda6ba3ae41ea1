#include "monitor/runtime_run.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::monitor {
namespace {

TEST(RuntimeMessageTest, TakesTheLastErrorOfJsonLines) {
  EXPECT_EQ(RuntimeMessage(R"({"level":"warning","msg":"old","time":"x"}
{"level":"error","msg":"exec: \"nope\": not found\n","time":"x"}
{"level":"info","msg":"later"}
)"),
            "exec: \"nope\": not found ");
  EXPECT_EQ(RuntimeMessage(R"({"msg":"a\u0041\u00e9","level":"error"})"), "aA?");
}

TEST(RuntimeMessageTest, ReadsLogfmtAndPlainText) {
  EXPECT_EQ(RuntimeMessage("time=\"t\" level=error msg=\"no \\\"x\\\"\"\n"), "no \"x\"");
  EXPECT_EQ(RuntimeMessage("warning first\nexecutable file not found\n\n"), "executable file not found");
  EXPECT_EQ(RuntimeMessage(""), "");
}

TEST(RuntimeErrorTest, FallsBackFromLogToStderrToCode) {
  EXPECT_EQ(RuntimeError("create", 3, "/nonexistent/log", 0, -1).message(),
            "runtime create: exit code 3 and no message");
  Result<sys::Pipe> pipe = sys::MakePipe();
  ASSERT_TRUE(pipe.ok());
  ASSERT_TRUE(sys::WriteAll(pipe->write.get(), "boom\n").ok());
  EXPECT_EQ(RuntimeError("start", 1, "", 0, pipe->read.get()).message(), "runtime start: boom");
}

TEST(RuntimeErrorTest, AProgramThatCannotRunIsTheRequestsFault) {
  // As crun 1.8 and runc 1.1 say it.
  for (const char* said :
       {"executable file `nosuch` not found in $PATH: No such file or directory", "open executable: Permission denied",
        "runc create failed: unable to start container process: exec: \"/x\": permission denied"}) {
    sys::TempDir dir;
    ASSERT_TRUE(sys::WriteFileAtomic(dir.At("log"), said, 0600, sys::Durability::kAtomic).ok());
    Status status = RuntimeError("create", 1, dir.At("log"), 0, -1);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << said;
    EXPECT_EQ(status.message(), std::string("runtime create: command: ") + said);
  }
}

TEST(RuntimeRunTest, KnowsItsOwnChildren) {
  EXPECT_FALSE(IsOwnChild(::getppid()));
  EXPECT_FALSE(IsOwnChild(::getpid()));
}

}  // namespace
}  // namespace davit::monitor
