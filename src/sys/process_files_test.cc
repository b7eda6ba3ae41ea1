#include "sys/process_files.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <climits>

#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

TEST(ProcessFilesTest, CountsDescriptorsAndSockets) {
  auto before = CountProcessFiles(::getpid(), 1000);
  ASSERT_TRUE(before.ok()) << before.status().ToString();
  auto pair = MakeSocketPair(SOCK_STREAM);
  auto pipe = MakePipe();
  ASSERT_TRUE(pair.ok() && pipe.ok());
  auto after = CountProcessFiles(::getpid(), 1000);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->descriptors, before->descriptors + 4);
  EXPECT_EQ(after->sockets, before->sockets + 2);
  EXPECT_EQ(CountProcessFiles(::getpid(), 1).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(CountProcessFiles(INT_MAX, 1000).code(), StatusCode::kNotFound);
}

TEST(ProcessFilesTest, OpenFilesLimitIsTheSoftOne) {
  EXPECT_EQ(OpenFilesLimit(::getpid()), static_cast<uint64_t>(::sysconf(_SC_OPEN_MAX)));
  EXPECT_EQ(OpenFilesLimit(INT_MAX), std::nullopt);
}

}  // namespace
}  // namespace davit::sys
