#include "monitor/runtime_run.h"

#include <gtest/gtest.h>
#include <unistd.h>

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

TEST(RuntimeRunTest, KnowsItsOwnChildren) {
  EXPECT_FALSE(IsOwnChild(::getppid()));
  EXPECT_FALSE(IsOwnChild(::getpid()));
}

}  // namespace
}  // namespace davit::monitor
