#include "cli/copy_plan.h"

#include <gtest/gtest.h>

namespace davit::cli {
namespace {

using enum PathKind;

TEST(CopyPlanTest, KnowsContainersFromPaths) {
  EXPECT_EQ(ParseCopyEnd("web:/etc").container, "web");
  EXPECT_EQ(ParseCopyEnd("web:/a:b").path, "/a:b");
  for (const char* path : {"file", "/a:b", "./a:b", "../a:b", ":x"}) {
    EXPECT_EQ(ParseCopyEnd(path).container, "") << path;
    EXPECT_EQ(ParseCopyEnd(path).path, path);
  }
  EXPECT_TRUE(ParseCopyEnd("-").stream());
  EXPECT_FALSE(ParseCopyEnd("web:-").stream());
}

void Expect(const char* source, PathKind what, const char* target, PathKind there, const char* directory,
            const char* name, bool make = false) {
  auto plan = PlanCopy(source, what, target, there);
  ASSERT_TRUE(plan.ok()) << source << " " << target << ": " << plan.status().ToString();
  EXPECT_EQ(plan->directory, directory) << source << " " << target;
  EXPECT_EQ(plan->name, name) << source << " " << target;
  EXPECT_EQ(plan->make_directory, make) << source << " " << target;
}

TEST(CopyPlanTest, FollowsTheRulesOfDockerCp) {
  Expect("/a/f", kFile, "/d", kDirectory, "/d", "f");
  Expect("/a/f", kFile, "/d/", kDirectory, "/d/", "f");
  Expect("/a/f", kFile, "/d/g", kAbsent, "/d", "g");
  Expect("/a/f", kFile, "/d/g", kFile, "/d", "g");
  Expect("f", kFile, "g", kAbsent, ".", "g");
  Expect("/a/d", kDirectory, "/t", kDirectory, "/t", "d");
  Expect("/a/d/", kDirectory, "/t", kDirectory, "/t", "d");
  Expect("/a/d/.", kDirectory, "/t", kDirectory, "/t", "");
  Expect(".", kDirectory, "/t", kDirectory, "/t", "");
  Expect("/a/d", kDirectory, "/t", kAbsent, "/t", "", true);
  Expect("/a/d/.", kDirectory, "/t/", kAbsent, "/t", "", true);
}

TEST(CopyPlanTest, RefusesWhatCannotBe) {
  EXPECT_EQ(PlanCopy("/x", kAbsent, "/d", kDirectory).code(), StatusCode::kNotFound);
  EXPECT_EQ(PlanCopy("/d", kDirectory, "/f", kFile).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(PlanCopy("/f", kFile, "/d/", kAbsent).code(), StatusCode::kNotFound);
  EXPECT_EQ(PlanCopy("/f", kFile, "/g/", kFile).code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace davit::cli
