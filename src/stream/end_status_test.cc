#include "stream/end_status.h"

#include <gtest/gtest.h>

namespace davit::stream {
namespace {

TEST(EndStatusTest, IsJsonSinceVersion4) {
  EXPECT_EQ(EndStatusText(0, 4), R"({"metadata":{},"status":"Success"})");
  EXPECT_EQ(EndStatusText(42, 5),
            R"({"metadata":{},"status":"Failure","message":"command terminated with exit code 42",)"
            R"("reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}})");
  EXPECT_EQ(EndStatusText(NotFound("no \"x\"\n"), 4),
            R"({"metadata":{},"status":"Failure","message":"Internal error occurred: no \"x\"\u000a",)"
            R"("reason":"InternalError","details":{"causes":[{"message":"no \"x\"\u000a"}]},"code":500})");
}

TEST(EndStatusTest, IsTextBeforeVersion4) {
  EXPECT_EQ(EndStatusText(0, 3), "");
  EXPECT_EQ(EndStatusText(7, 1), "command terminated with exit code 7");
  EXPECT_EQ(EndStatusText(NotFound("no such container"), 2), "no such container");
}

}  // namespace
}  // namespace davit::stream
