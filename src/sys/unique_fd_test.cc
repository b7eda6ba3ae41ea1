#include "sys/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <limits>

#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFdTest, ClosesOnDestructionAndMoveEmptiesTheSource) {
  int number = -1;
  {
    UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    number = first.get();
    UniqueFd second(std::move(first));
    EXPECT_FALSE(first.valid());  // NOLINT: the state after a move is what is tested
    EXPECT_TRUE(IsOpen(number));
  }
  EXPECT_FALSE(IsOpen(number));
}

TEST(UniqueFdTest, PipesAndPairsAreCloseOnExec) {
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe.ok());
  EXPECT_EQ(::fcntl(pipe->read.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(pipe->write.get(), F_GETFD), FD_CLOEXEC);
  auto pair = MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(::fcntl(pair->first.get(), F_GETFD), FD_CLOEXEC);
}

TEST(UniqueFdTest, OpenNamesThePath) {
  auto fd = Open("/nonexistent/file", O_RDONLY);
  EXPECT_EQ(fd.code(), StatusCode::kNotFound);
  EXPECT_NE(fd.status().message().find("/nonexistent/file"), std::string::npos);
}

TEST(UniqueFdTest, ReadTakesExactlyTheCapAndRefusesOneMore) {
  TempDir dir;
  std::string text(10000, 'x');
  ASSERT_TRUE(WriteFileAtomic(dir.At("f"), text, 0600, Durability::kAtomic).ok());
  auto whole = ReadFile(dir.At("f"), text.size());
  ASSERT_TRUE(whole.ok()) << whole.status().ToString();
  EXPECT_EQ(*whole, text);
  EXPECT_EQ(ReadFile(dir.At("f"), text.size() - 1).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadFile(dir.At("f"), 0).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadFile(dir.At("f"), std::numeric_limits<size_t>::max()).ok());
}

TEST(UniqueFdTest, WriteValueNeedsAnExistingFile) {
  TempDir dir;
  EXPECT_EQ(WriteValue(dir.At("none"), "1").code(), StatusCode::kNotFound);
}

TEST(UniqueFdTest, NonBlockingGoesOnAndOff) {
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe.ok());
  ASSERT_TRUE(SetNonBlocking(pipe->read.get(), true).ok());
  char c = 0;
  EXPECT_EQ(::read(pipe->read.get(), &c, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  ASSERT_TRUE(SetNonBlocking(pipe->read.get(), false).ok());
  EXPECT_EQ(::fcntl(pipe->read.get(), F_GETFL) & O_NONBLOCK, 0);
}

}  // namespace
}  // namespace davit::sys
