#include "api/json_reader.h"

#include <gtest/gtest.h>

namespace davit::api {
namespace {

TEST(JsonReaderTest, MatchesNamesWhateverTheirCase) {
  auto document = JsonDocument::Parse(R"({"Image":"a","hostconfig":{"MEMORY":5},"Cmd":null,"extra":[{}]})");
  ASSERT_TRUE(document.ok());
  JsonReader root = document->root();
  EXPECT_EQ(root["image"].Str(), "a");
  EXPECT_EQ(root["HostConfig"]["Memory"].Int(), 5);
  EXPECT_FALSE(root["Cmd"].present());
  EXPECT_TRUE(root["Cmd"].Strings().empty());
  EXPECT_EQ(root["HostConfig"]["Absent"]["Below"].Str("x"), "x");
  EXPECT_TRUE(document->status().ok());
}

TEST(JsonReaderTest, AnExactNameComesFirst) {
  auto document = JsonDocument::Parse(R"({"NAME":"1","name":"2"})");
  EXPECT_EQ(document->root()["name"].Str(), "2");
}

TEST(JsonReaderTest, NothingIsAnEmptyObject) {
  for (const char* text : {"", " \n", "null", "{}"}) {
    auto document = JsonDocument::Parse(text);
    ASSERT_TRUE(document.ok()) << text;
    EXPECT_FALSE(document->root()["x"].present());
  }
}

TEST(JsonReaderTest, NamesTheFirstValueOfAWrongType) {
  auto document = JsonDocument::Parse(R"({"HostConfig":{"Memory":"much","Binds":[1]}})");
  JsonReader host = document->root()["HostConfig"];
  EXPECT_EQ(host["Memory"].Int(), 0);
  EXPECT_EQ(host["Binds"].Strings().size(), 1u);
  EXPECT_EQ(document->status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(document->status().message(), "HostConfig.Memory: expected an integer");
}

TEST(JsonReaderTest, RefusesWhatIsNoJson) {
  for (const char* text : {"{", "{\"a\":}", "[1,2", "{} x"}) {
    EXPECT_EQ(JsonDocument::Parse(text).code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(JsonDocument::Parse(std::string(100, '[') + std::string(100, ']')).ok()) << "too deep";
}

TEST(JsonReaderTest, AStringIsAListOfOne) {
  auto document = JsonDocument::Parse(R"({"Entrypoint":"/init","Big":1e3})");
  EXPECT_EQ(document->root()["Entrypoint"].Strings(), std::vector<std::string>{"/init"});
  EXPECT_EQ(document->root()["Big"].Int(), 1000);
}

}  // namespace
}  // namespace davit::api
