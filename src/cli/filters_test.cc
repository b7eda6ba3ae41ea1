#include "cli/filters.h"

#include <gtest/gtest.h>

namespace davit::cli {
namespace {

TEST(FiltersTest, NameWhatIsKnown) {
  auto filters = ParseFilters({"label=a=b", "label=c", "status=running"}, {"label", "status"});
  ASSERT_TRUE(filters.ok());
  EXPECT_EQ(filters->count("label"), 2u);
  EXPECT_EQ(filters->find("label")->second, "a=b");
  EXPECT_EQ(ParseFilters({"colour=red"}, {"label", "status"}).status().message(),
            "--filter \"colour=red\": the key is one of label, status");
  EXPECT_FALSE(ParseFilters({"label"}, {"label"}).ok());
}

TEST(FiltersTest, AnyValueOfAKeyIsEnoughButLabelsAllCount) {
  const std::map<std::string, std::string> labels = {{"a", "1"}, {"b", ""}};
  auto matches = [&](const std::vector<std::string>& texts) {
    return Matches(*ParseFilters(texts, {"label", "name"}), [&](const std::string& key, const std::string& value) {
      return key == "label" ? LabelHolds(labels, value) : value == "web";
    });
  };
  EXPECT_TRUE(matches({}));
  EXPECT_TRUE(matches({"name=db", "name=web"}));
  EXPECT_TRUE(matches({"label=a", "label=b", "label=a=1"}));
  EXPECT_FALSE(matches({"label=a", "label=a=2"}));
  EXPECT_FALSE(matches({"label=a", "name=db"}));
}

}  // namespace
}  // namespace davit::cli
