#include "oci/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::oci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(JsonTest, TypedGettersFollowPaths) {
  auto doc = ParseJson(R"({"a":{"b":[1,"x",true,null]},"n":null,"u":18446744073709551615,"s":"text"})");
  ASSERT_TRUE(doc.ok()) << doc.status().ToString();
  JsonNode root(*doc, "doc");
  EXPECT_EQ(*root.Key("s").String(), "text");
  EXPECT_EQ(*root.Key("u").Uint64(), UINT64_MAX);
  EXPECT_FALSE(root.Key("u").Int64().ok());
  EXPECT_FALSE(root.Key("n").present());
  EXPECT_EQ(*root.Key("n").StringOr("d"), "d");
  EXPECT_EQ(*root.Key("missing").Key("deeper").Int64Or(7), 7);
  EXPECT_EQ(*root.Key("missing").BoolOr(true), true);
  auto elements = root.Key("a").Key("b").Elements();
  ASSERT_TRUE(elements.ok());
  ASSERT_EQ(elements->size(), 4u);
  EXPECT_EQ(*(*elements)[0].Int64(), 1);
  EXPECT_EQ(*(*elements)[2].Bool(), true);
  EXPECT_FALSE((*elements)[3].present());
}

TEST(JsonTest, ErrorsNameThePath) {
  auto doc = ParseJson(R"({"a":{"b":[1,"x"]},"f":1.5,"neg":-1})");
  ASSERT_TRUE(doc.ok());
  JsonNode root(*doc, "doc");
  EXPECT_EQ(root.Key("a").Key("b").Strings().status().message(), "doc.a.b[0]: expected a string, found an integer");
  EXPECT_EQ(root.Key("a").Key("c").String().status().message(), "doc.a.c: missing; expected a string");
  EXPECT_EQ(root.Key("f").Int64().status().message(),
            "doc.f: expected an integer, found a number with a fraction or exponent");
  EXPECT_EQ(root.Key("f").Key("x").Key("y").StringOr("").status().message(),
            "doc.f: expected an object, found a number with a fraction or exponent");
  EXPECT_THAT(root.Key("neg").Uint64().status().message(),
              HasSubstr("doc.neg: expected a number that is not negative"));
  EXPECT_EQ(root.Key("a").Bool().status().code(), StatusCode::kInvalidArgument);
}

TEST(JsonTest, MapsAndSets) {
  auto doc = ParseJson(R"({"labels":{"k":"v","e":null},"ports":{"80/tcp":{},"53/udp":null}})");
  ASSERT_TRUE(doc.ok());
  JsonNode root(*doc, "doc");
  auto labels = root.Key("labels").StringMap();
  ASSERT_TRUE(labels.ok());
  EXPECT_EQ((*labels)["k"], "v");
  EXPECT_EQ((*labels)["e"], "");
  EXPECT_THAT(*root.Key("ports").Keys(), ElementsAre("80/tcp", "53/udp"));
  EXPECT_EQ(root.Key("ports").Keys(1).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(root.Key("labels").Elements().code(), StatusCode::kInvalidArgument);
}

TEST(JsonTest, RefusesMalformedText) {
  for (std::string_view text : {"", "{", "{}x", "{} {}", "[1,]", "{'a':1}", "nul", "\"\xff\"", "// c\n{}", "[1] ]"}) {
    auto doc = ParseJson(text);
    ASSERT_FALSE(doc.ok()) << text;
    EXPECT_EQ(doc.code(), StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(ParseJson(" {} \r\n\t").ok());
  EXPECT_TRUE(ParseJson("12").ok());
  EXPECT_TRUE(ParseJson("12 ").ok());
}

TEST(JsonTest, CapsSizeAndDepth) {
  EXPECT_EQ(ParseJson("[1,2,3]", 6).code(), StatusCode::kResourceExhausted);
  std::string deep = std::string(64, '[') + std::string(64, ']');
  EXPECT_TRUE(ParseJson(deep).ok());
  deep = "[" + deep + "]";
  EXPECT_EQ(ParseJson(deep).code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(ParseJson(std::string(4u << 20, '[')).ok());
}

TEST(JsonTest, RefusesNumbersThatNoDoubleHolds) {
  for (const char* text : {"1e999", "-1e999", "0e999999", R"({"a":[{"b":4e370808}]})"}) {
    EXPECT_EQ(ParseJson(text).code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_TRUE(ParseJson("[1e308,1e-400,123456789012345678901234567890]").ok());
}

TEST(JsonTest, LastDuplicateCounts) {
  auto doc = ParseJson(R"({"a":1,"a":2})");
  ASSERT_TRUE(doc.ok());
  EXPECT_EQ(*JsonNode(*doc, "doc").Key("a").Int64(), 2);
}

TEST(JsonTest, QuotesText) { EXPECT_EQ(QuoteJson("a\"b\n"), "\"a\\\"b\\n\""); }

}  // namespace
}  // namespace davit::oci
