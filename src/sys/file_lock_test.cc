#include "sys/file_lock.h"

#include <gtest/gtest.h>

#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

TEST(FileLockTest, IsHeldByOneAndFreeAfterIt) {
  TempDir dir;
  Result<UniqueFd> first = LockFile(dir.At("lock"));
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  // Another open file description, as another process would have.
  Result<UniqueFd> second = LockFile(dir.At("lock"));
  EXPECT_EQ(second.code(), StatusCode::kFailedPrecondition) << second.status().ToString();
  first->reset();
  EXPECT_TRUE(LockFile(dir.At("lock")).ok());
  EXPECT_EQ(LockFile(dir.At("no/lock")).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::sys
