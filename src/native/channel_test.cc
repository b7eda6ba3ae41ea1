#include "native/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>

namespace davit::native {
namespace {

using ::testing::HasSubstr;

TEST(ChannelTest, CarriesWordsErrorsAndTheEnd) {
  Result<Channel> channel = MakeChannel();
  ASSERT_TRUE(channel.ok());
  int caller = channel->caller.get();
  int child = channel->child.get();
  ASSERT_TRUE(Send(child, Word::kPid, "42").ok());
  EXPECT_EQ(*Await(caller, Word::kPid), "42");
  ASSERT_TRUE(SendError(child, PermissionDenied("mounts[3] /data: no")).ok());
  EXPECT_EQ(Receive(caller).status(), PermissionDenied("mounts[3] /data: no"));
  ASSERT_TRUE(Send(child, Word::kReady).ok());
  EXPECT_EQ(Await(caller, Word::kGo).code(), StatusCode::kInternal);
  channel->child.reset();
  EXPECT_EQ(*Receive(caller), std::nullopt);
  EXPECT_EQ(Await(caller, Word::kGo).code(), StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Send(caller, Word::kGo).ok()) << "an error, and no signal";
}

TEST(ChannelTest, AnErrorThatIsTooLongIsCut) {
  Result<Channel> channel = MakeChannel();
  ASSERT_TRUE(channel.ok());
  ASSERT_TRUE(SendError(channel->child.get(), Internal(std::string(100000, 'x'))).ok());
  Status error = Receive(channel->caller.get()).status();
  EXPECT_EQ(error.code(), StatusCode::kInternal);
  EXPECT_LT(error.message().size(), 8192u);
}

TEST(ChannelTest, NonsenseIsAnError) {
  Result<Channel> channel = MakeChannel();
  ASSERT_TRUE(channel.ok());
  for (const char* nonsense : {"e", "e0 fine", "e99 text", "e-3 x", "e5"}) {
    ASSERT_GT(::send(channel->child.get(), nonsense, std::strlen(nonsense), 0), 0);
    EXPECT_EQ(Receive(channel->caller.get()).code(), StatusCode::kInternal) << nonsense;
  }
  EXPECT_EQ(Receive(channel->caller.get(), Deadline::After(std::chrono::milliseconds(1))).code(),
            StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace davit::native
