#include "monitor/state.h"

#include <gtest/gtest.h>

namespace davit::monitor {
namespace {

TEST(ExitRecordTest, SurvivesTheTrip) {
  ExitRecord record{137, 1'700'000'000'000'000'001, 1'700'000'000'000'000'002, true};
  Result<ExitRecord> back = ParseExitRecord(FormatExitRecord(record));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(*back, record);
}

TEST(ExitRecordTest, EveryCutIsRefused) {
  std::string text = FormatExitRecord({});
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(ParseExitRecord(text.substr(0, size)).code(), StatusCode::kDataLoss) << size;
  }
}

TEST(ExitRecordTest, SkipsUnknownLinesAndRefusesBadOnes) {
  EXPECT_TRUE(ParseExitRecord("davit-exit 1\ncode=3\nnew=x\nfinished=9\nend\n").ok());
  EXPECT_FALSE(ParseExitRecord("davit-exit 1\ncode=300\nfinished=9\nend\n").ok());
  EXPECT_FALSE(ParseExitRecord("davit-exit 1\nfinished=9\nend\n").ok());
  EXPECT_FALSE(ParseExitRecord("davit-exit 2\ncode=3\nfinished=9\nend\n").ok());
}

}  // namespace
}  // namespace davit::monitor
