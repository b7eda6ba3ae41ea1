#include "stream/tickets.h"

#include <gtest/gtest.h>

namespace davit::stream {
namespace {

using std::chrono::seconds;

class TicketsTest : public testing::Test {
 protected:
  Tickets::Clock::time_point now_{};
  Tickets tickets_{4, 3, seconds(60), [this] { return now_; }};
  ExecRequest exec_{ContainerId::Mint(), {"ls"}, false, false, true, false};
};

TEST_F(TicketsTest, WorksOnceForItsRequest) {
  auto token = tickets_.Mint(exec_);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->size(), 40U);
  EXPECT_TRUE(tickets_.Peek("exec", *token).ok());
  auto request = tickets_.Redeem("exec", *token);
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(std::get<ExecRequest>(*request).container, exec_.container);
  EXPECT_EQ(tickets_.Redeem("exec", *token).code(), StatusCode::kNotFound);
}

TEST_F(TicketsTest, IsBoundToItsKind) {
  auto token = tickets_.Mint(exec_);
  EXPECT_EQ(tickets_.Redeem("attach", *token).code(), StatusCode::kNotFound);
  EXPECT_EQ(tickets_.Redeem("exec", token->substr(1)).code(), StatusCode::kNotFound);
  EXPECT_EQ(tickets_.Redeem("exec", std::string(40, '0')).code(), StatusCode::kNotFound);
  EXPECT_TRUE(tickets_.Redeem("exec", *token).ok());
}

TEST_F(TicketsTest, Expires) {
  auto token = tickets_.Mint(exec_);
  now_ += seconds(59);
  EXPECT_TRUE(tickets_.Peek("exec", *token).ok());
  now_ += seconds(1);
  EXPECT_EQ(tickets_.Redeem("exec", *token).code(), StatusCode::kNotFound);
}

TEST_F(TicketsTest, RefusesTooManyUntilSomeExpire) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(tickets_.Mint(exec_).ok());
  EXPECT_EQ(tickets_.Mint(exec_).code(), StatusCode::kResourceExhausted) << "one container leaves room for others";
  EXPECT_TRUE(tickets_.Mint(PortForwardRequest{PodId::Mint(), {}}).ok());
  exec_.container = ContainerId::Mint();
  EXPECT_EQ(tickets_.Mint(exec_).code(), StatusCode::kResourceExhausted);
  now_ += seconds(60);
  EXPECT_TRUE(tickets_.Mint(exec_).ok());
}

}  // namespace
}  // namespace davit::stream
