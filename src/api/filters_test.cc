#include "api/filters.h"

#include <gtest/gtest.h>

#include "base/time.h"

namespace davit::api {
namespace {

const std::vector<std::string> kKnown = {"label", "label!", "name", "id", "status"};

TEST(FiltersTest, ReadsBothEncodings) {
  for (const char* text : {R"({"label":["a=b","c"]})", R"({"label":{"a=b":true,"c":true,"d":false}})"}) {
    auto filters = Filters::Parse(text, kKnown);
    ASSERT_TRUE(filters.ok()) << text;
    EXPECT_EQ(filters->Values("label"), (std::vector<std::string>{"a=b", "c"})) << text;
  }
  EXPECT_TRUE(Filters::Parse("", kKnown)->empty());
  EXPECT_TRUE(Filters::Parse("{}", kKnown)->empty());
  EXPECT_TRUE(Filters::Parse(R"({"label":[]})", kKnown)->empty());
}

TEST(FiltersTest, NamesAnUnknownFilter) {
  auto filters = Filters::Parse(R"({"bogus":["zz"]})", kKnown);
  EXPECT_EQ(filters.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(filters.status().message(), "bogus is an invalid filter");
  EXPECT_FALSE(Filters::Parse("zz", kKnown).ok());
  EXPECT_FALSE(Filters::Parse("[]", kKnown).ok());
}

TEST(FiltersTest, ComparesLabels) {
  std::map<std::string, std::string> labels = {{"a", "b"}, {"c", ""}};
  auto passes = [&](const char* text) { return Filters::Parse(text, kKnown)->Labels(labels); };
  EXPECT_TRUE(passes(R"({"label":["a"]})"));
  EXPECT_TRUE(passes(R"({"label":["a=b","c"]})"));
  EXPECT_FALSE(passes(R"({"label":["a=x"]})"));
  EXPECT_FALSE(passes(R"({"label!":["c"]})"));
  EXPECT_TRUE(passes(R"({"label!":["d"]})"));
}

TEST(FiltersTest, NamesArePartsOrPatterns) {
  auto filters = Filters::Parse(R"({"name":["^web-[0-9]+$"]})", kKnown);
  EXPECT_TRUE(filters->Matches("name", "web-12"));
  EXPECT_FALSE(filters->Matches("name", "web-x"));
  EXPECT_TRUE(Filters::Parse(R"({"name":["eb"]})", kKnown)->Matches("name", "web"));
  EXPECT_FALSE(Filters::Parse(R"({"name":["("]})", kKnown)->Matches("name", "web"));
  EXPECT_TRUE(filters->Matches("id", "not asked for"));
}

TEST(TimestampTest, ReadsAllForms) {
  EXPECT_EQ(*ParseTimestamp("1700000000", "t"), 1700000000ll * 1000000000);
  EXPECT_EQ(*ParseTimestamp("1700000000.25", "t"), 1700000000ll * 1000000000 + 250000000);
  EXPECT_EQ(*ParseTimestamp("2023-11-14T22:13:20Z", "t"), 1700000000ll * 1000000000);
  EXPECT_EQ(*ParseTimestamp("2023-11-14T23:13:20.5+01:00", "t"), 1700000000ll * 1000000000 + 500000000);
  EXPECT_EQ(*ParseTimestamp("2023-11-14", "t"), 1699920000ll * 1000000000);
  EXPECT_EQ(*ParseTimestamp("", "t"), 0);
  EXPECT_EQ(*ParseTimestamp("0001-01-01T00:00:00Z", "t"), 0) << "what podman sends for none";
  int64_t ago = *ParseTimestamp("10m", "t");
  EXPECT_LE(ago, WallNanos() - 600ll * 1000000000);
  for (const char* text : {"yesterday", "2023-13-45T", "12:00", "1700000000x", "2023-11-14T22:13:20+0x:00"}) {
    EXPECT_EQ(ParseTimestamp(text, "since").code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(DurationTest, ReadsGos) {
  EXPECT_EQ(*ParseGoDuration("1h2m3.5s"), (3600ll + 120 + 3) * 1000000000 + 500000000);
  EXPECT_EQ(*ParseGoDuration("250ms"), 250000000);
  EXPECT_FALSE(ParseGoDuration("5").ok());
  EXPECT_FALSE(ParseGoDuration("h").ok());
  EXPECT_FALSE(ParseGoDuration("").ok());
}

}  // namespace
}  // namespace davit::api
