#include "runtime/runtime_log.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/atomic_file.h"

namespace davit::runtime {
namespace {

TEST(RuntimeLogTest, TakesTheLastError) {
  EXPECT_EQ(LastRuntimeError(R"({"level":"error","msg":"first","time":"t"}
{"msg":"exec: \"x\": not found","level":"error","time":"t"}
{"level":"warning","msg":"later but no error"}
)"),
            "exec: \"x\": not found");
  EXPECT_EQ(LastRuntimeError(R"({"level":"fatal","msg":"f"})"), "f");
}

TEST(RuntimeLogTest, FallsBackToPlainText) {
  EXPECT_EQ(LastRuntimeError("usage: runtime\n  unknown flag --x\n\n"), "unknown flag --x");
  EXPECT_EQ(LastRuntimeError("text\n{\"level\":\"error\",\"msg\":\"json wins\"}\ntext after"), "json wins");
}

TEST(RuntimeLogTest, IsEmptyWithoutErrors) {
  EXPECT_EQ(LastRuntimeError(""), "");
  EXPECT_EQ(LastRuntimeError("\n\n"), "");
  EXPECT_EQ(LastRuntimeError(R"({"level":"warning","msg":"w"})"), "");
  EXPECT_EQ(LastRuntimeError(R"({"level":"error","msg":null})"), "");
  EXPECT_EQ(LastRuntimeError(R"({"level":3,"msg":"x"})"), "");
}

TEST(RuntimeLogTest, EscapesAndCutsTheMessage) {
  EXPECT_EQ(LastRuntimeError(R"({"level":"error","msg":"a\u001b[2Jb"})"), "a\\x1b[2Jb");
  std::string longest = LastRuntimeError(R"({"level":"error","msg":")" + std::string(9000, 'x') + R"("})");
  EXPECT_LT(longest.size(), 4200u);
}

TEST(RuntimeLogTest, ReadsOnlyTheTailOfAFile) {
  std::string directory = ::testing::TempDir() + "davit-runtime-log-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  std::string file = directory + "/log";
  EXPECT_EQ(ReadRuntimeError(file), "");
  std::string text = R"({"level":"error","msg":"too far up"})"
                     "\n" +
                     std::string(70000, 'x') + "\n";
  ASSERT_TRUE(sys::WriteFileAtomic(file, text, 0600, sys::Durability::kAtomic).ok());
  EXPECT_EQ(ReadRuntimeError(file), "");
  text += R"({"level":"error","msg":"the one"})";
  ASSERT_TRUE(sys::WriteFileAtomic(file, text, 0600, sys::Durability::kAtomic).ok());
  EXPECT_EQ(ReadRuntimeError(file), "the one");
  ASSERT_EQ(::symlink(file.c_str(), (directory + "/link").c_str()), 0);
  EXPECT_EQ(ReadRuntimeError(directory + "/link"), "");
  EXPECT_EQ(ReadRuntimeError(directory), "");
  EXPECT_TRUE(sys::RemoveTree(directory).ok());
}

}  // namespace
}  // namespace davit::runtime
