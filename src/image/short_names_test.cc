#include "image/short_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> Meanings(const ShortNames& names, std::string_view text) {
  Result<std::vector<Reference>> found = names.Candidates(text);
  if (!found.ok()) return {found.status().message()};
  std::vector<std::string> out;
  for (const Reference& reference : *found) out.push_back(reference.String());
  return out;
}

TEST(ShortNamesTest, WithoutRulesTheyAreOfOneRegistry) {
  EXPECT_THAT(Meanings(ShortNames(), "busybox"), ElementsAre("docker.io/library/busybox:latest"));
  EXPECT_THAT(Meanings(ShortNames("r.example:5000"), "team/app:1"), ElementsAre("r.example:5000/team/app:1"));
  EXPECT_THAT(Meanings(ShortNames("r.example"), "localhost/app"), ElementsAre("localhost/app:latest"));
}

TEST(ShortNamesTest, AliasesGoBeforeRegistriesInOrder) {
  const ShortNames names({"one.example:5000", "docker.io"},
                         {{"busybox", "two.example/tools/busybox"}, {"gone", ""}, {"bad", "A B"}}, false);
  EXPECT_THAT(Meanings(names, "busybox:1.36"), ElementsAre("two.example/tools/busybox:1.36"));
  EXPECT_THAT(Meanings(names, "app"), ElementsAre("one.example:5000/app:latest", "docker.io/library/app:latest"));
  EXPECT_THAT(Meanings(names, "team/app"),
              ElementsAre("one.example:5000/team/app:latest", "docker.io/team/app:latest"));
  EXPECT_THAT(Meanings(names, "gone").size(), 2u);
  EXPECT_THAT(Meanings(names, "bad"), ElementsAre(HasSubstr("alias \"bad\"")));
  EXPECT_THAT(Meanings(names, "r.example/busybox"), ElementsAre("r.example/busybox:latest")) << "it names its registry";
}

TEST(ShortNamesTest, AReferenceIsWrittenInEachWayThatMeansIt) {
  const ShortNames names({"one.example:5000", "docker.io"}, {{"tool", "two.example/tools/busybox"}, {"gone", ""}},
                         false);
  auto spellings = [&](const std::string& text) { return names.Spellings(*Reference::Parse(text)); };
  EXPECT_THAT(spellings("one.example:5000/team/app:1"), Contains("team/app:1"));
  EXPECT_THAT(spellings("one.example:5000/team/app:1"), Contains("one.example:5000/team/app"));
  EXPECT_THAT(spellings("two.example/tools/busybox:1"), Contains("tool:1"));
  EXPECT_THAT(spellings("two.example/tools/busybox:1"), Not(Contains("tools/busybox:1")))
      << "no registry for such names";
  EXPECT_THAT(spellings("docker.io/library/app:1"), Contains("app"));
  EXPECT_THAT(spellings("docker.io/library/app:1"), Contains("app:1"));
}

TEST(ShortNamesTest, WhatMustNotBeGuessedIsRefused) {
  const ShortNames names({"one.example", "two.example"}, {{"app", "one.example/app"}}, true);
  Result<std::vector<Reference>> pull = names.ForPull("other:1");
  EXPECT_EQ(pull.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(pull.status().message(), HasSubstr("one.example/other, two.example/other"));
  EXPECT_TRUE(names.ForPull("app").ok());
  EXPECT_TRUE(names.ForPull("three.example/other").ok());
  EXPECT_EQ(names.Candidates("other")->size(), 2u) << "what is on the node is found";
  EXPECT_TRUE(ShortNames({"one.example"}, {}, true).ForPull("other").ok());
}

}  // namespace
}  // namespace davit::image
