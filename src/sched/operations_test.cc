#include "sched/operations.h"

#include <gtest/gtest.h>

#include <string>

namespace davit::sched {
namespace {

using Finish = std::function<void(Result<std::string>)>;

TEST(OperationsTest, RequestsWithOneKeyJoin) {
  Operations<std::string> operations;
  Finish finish;
  int started = 0;
  std::vector<std::string> results;
  auto start = [&](Finish f) {
    ++started;
    finish = std::move(f);
  };
  auto done = [&](const Result<std::string>& result) { results.push_back(*result); };
  operations.Join("pod", done, start);
  operations.Join("pod", done, start);
  EXPECT_EQ(started, 1);
  EXPECT_EQ(operations.running(), 1u);
  finish("made");
  EXPECT_EQ(results, (std::vector<std::string>{"made", "made"}));
  EXPECT_EQ(operations.running(), 0u);
}

TEST(OperationsTest, AfterTheEndANewOneStarts) {
  Operations<std::string> operations;
  int started = 0;
  auto start = [&](const Finish& f) {
    ++started;
    f("x");
  };
  operations.Join(
      "k", [](const Result<std::string>&) {}, start);
  operations.Join(
      "k", [](const Result<std::string>&) {}, start);
  EXPECT_EQ(started, 2);
}

TEST(OperationsTest, SecondFinishIsIgnored) {
  Operations<std::string> operations;
  Finish finish;
  int done = 0;
  operations.Join(
      "k", [&](const Result<std::string>&) { ++done; }, [&](Finish f) { finish = std::move(f); });
  finish("one");
  finish("two");
  EXPECT_EQ(done, 1);
}

TEST(OperationsTest, TooManyWaitersAreRefusedAndTheOthersServed) {
  Operations<std::string> operations;
  Finish finish;
  int served = 0;
  int refused = 0;
  for (int i = 0; i < 1030; ++i) {
    operations.Join(
        "k",
        [&](const Result<std::string>& result) {
          if (result.ok()) ++served;
          if (result.code() == StatusCode::kResourceExhausted) ++refused;
        },
        [&](Finish f) { finish = std::move(f); });
  }
  finish("x");
  EXPECT_EQ(served, 1024);
  EXPECT_EQ(refused, 6);
}

TEST(OperationsTest, ErrorsReachEveryWaiter) {
  Operations<std::string> operations;
  Finish finish;
  std::vector<StatusCode> codes;
  auto done = [&](const Result<std::string>& result) { codes.push_back(result.code()); };
  auto start = [&](Finish f) { finish = std::move(f); };
  operations.Join("k", done, start);
  operations.Join("k", done, start);
  finish(NotFound("gone"));
  EXPECT_EQ(codes, (std::vector<StatusCode>{StatusCode::kNotFound, StatusCode::kNotFound}));
}

}  // namespace
}  // namespace davit::sched
