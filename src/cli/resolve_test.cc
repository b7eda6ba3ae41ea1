#include "cli/resolve.h"

#include <gtest/gtest.h>

namespace davit::cli {
namespace {

const std::vector<Candidate> kPods = {
    {"aaa1", "web"}, {"aaa2", "db"}, {"bbb3", "web"}, {"aaa", "short"}, {"ccc4", "aaa2"}};

TEST(ResolveTest, PrefersIdThenNameThenBeginning) {
  EXPECT_EQ(*ResolveId(kPods, "aaa", "pod"), "aaa");
  EXPECT_EQ(*ResolveId(kPods, "aaa2", "pod"), "aaa2");
  EXPECT_EQ(*ResolveId(kPods, "db", "pod"), "aaa2");
  EXPECT_EQ(*ResolveId(kPods, "bb", "pod"), "bbb3");
}

TEST(ResolveTest, NamesTheCandidatesWhenAmbiguous) {
  auto by_name = ResolveId(kPods, "web", "pod");
  EXPECT_EQ(by_name.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(by_name.status().message(), "pod \"web\" is ambiguous: aaa1 (web), bbb3 (web)");
  EXPECT_EQ(ResolveId(kPods, "aa", "pod").status().message(),
            "pod \"aa\" is ambiguous: aaa1 (web), aaa2 (db), aaa (short)");
}

TEST(ResolveTest, ShowsAtMostFiveCandidates) {
  std::vector<Candidate> many;
  for (int i = 0; i < 9; ++i) many.push_back({"f" + std::to_string(i), ""});
  EXPECT_EQ(ResolveId(many, "f", "container").status().message(),
            "container \"f\" is ambiguous: f0, f1, f2, f3, f4 and 4 more");
}

TEST(ResolveTest, IgnoresTheAlgorithmOfDigests) {
  EXPECT_EQ(*ResolveId({{"sha256:123456", ""}}, "1234", "image"), "sha256:123456");
}

TEST(ResolveTest, SaysWhatIsMissing) {
  EXPECT_EQ(ResolveId(kPods, "zz", "pod").code(), StatusCode::kNotFound);
  EXPECT_EQ(ResolveId(kPods, "zz", "pod").status().message(), "no pod \"zz\"");
  EXPECT_EQ(ResolveId(kPods, "", "pod").code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace davit::cli
