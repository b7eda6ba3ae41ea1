#include "image/reference.h"

#include <gtest/gtest.h>

#include <string>

namespace davit::image {
namespace {

const std::string kHex(64, 'a');
const std::string kDigest = "sha256:" + kHex;

TEST(ReferenceTest, NormalisesNames) {
  struct Case {
    std::string text, full, familiar;
  };
  const Case cases[] = {
      {"busybox", "docker.io/library/busybox:latest", "busybox"},
      {"busybox:1.36", "docker.io/library/busybox:1.36", "busybox"},
      {"docker.io/busybox", "docker.io/library/busybox:latest", "busybox"},
      {"index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox"},
      {"foo/bar", "docker.io/foo/bar:latest", "foo/bar"},
      {"foo/bar/baz:t", "docker.io/foo/bar/baz:t", "foo/bar/baz"},
      {"localhost/a", "localhost/a:latest", "localhost/a"},
      {"localhost:5000/a/b:v1", "localhost:5000/a/b:v1", "localhost:5000/a/b"},
      {"host:5000/a", "host:5000/a:latest", "host:5000/a"},
      {"registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9", "registry.k8s.io/pause"},
      {"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a"},
      {"a@" + kDigest, "docker.io/library/a@" + kDigest, "a"},
      {"h.io/a:t@" + kDigest, "h.io/a:t@" + kDigest, "h.io/a"},
      {"a__b/c---d", "docker.io/a__b/c---d:latest", "a__b/c---d"},
      {"Upper.example/a", "Upper.example/a:latest", "Upper.example/a"},
  };
  for (const Case& c : cases) {
    Result<Reference> ref = Reference::Parse(c.text);
    ASSERT_TRUE(ref.ok()) << c.text << ": " << ref.status().ToString();
    EXPECT_EQ(ref->String(), c.full) << c.text;
    EXPECT_EQ(ref->FamiliarName(), c.familiar) << c.text;
  }
}

TEST(ReferenceTest, RejectsWhatTheGrammarDoesNotAllow) {
  const std::string cases[] = {
      "",
      ":tag",
      "@" + kDigest,
      "a:",
      "a@",
      "a@sha256:abc",
      "a@md5:" + kHex,
      "a:-x",
      "a:" + std::string(129, 'x'),
      "a//b",
      "/a",
      "a/",
      "a..b",
      "a._b",
      "a___b",
      "-a",
      "a-",
      "h.io:port/a",
      "h.io:123456/a",
      "h..io/a",
      "a b",
      "a\n",
      "../a",
      "a/../b",
      "http://h.io/a",
      std::string(300, 'a'),
      "a@" + kDigest + "@" + kDigest,
      kHex,
  };
  for (const std::string& text : cases) {
    Result<Reference> ref = Reference::Parse(text);
    EXPECT_EQ(ref.code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(ReferenceTest, RejectsUppercaseRepository) {
  Result<Reference> ref = Reference::Parse("host.io/Foo/bar");
  ASSERT_FALSE(ref.ok());
  EXPECT_NE(ref.status().message().find("lower case"), std::string::npos) << ref.status().message();
  EXPECT_NE(ref.status().message().find("Foo"), std::string::npos);
}

TEST(ReferenceTest, TakesADefaultRegistry) {
  EXPECT_EQ(Reference::Parse("a", "example.org")->String(), "example.org/a:latest");
  EXPECT_EQ(Reference::Parse("docker.io/a", "example.org")->String(), "docker.io/library/a:latest");
}

TEST(ReferenceTest, FormsOfAName) {
  Result<Reference> ref = Reference::Parse("h.io/a:t@" + kDigest);
  ASSERT_TRUE(ref.ok());
  EXPECT_EQ(ref->TaggedName(), "h.io/a:t");
  EXPECT_EQ(ref->DigestedName(), "h.io/a@" + kDigest);
  EXPECT_EQ(ref->ManifestName(), kDigest);
}

TEST(ReferenceTest, FamiliarNameNamesTheSameImage) {
  EXPECT_EQ(Reference::Parse("docker.io/library/busybox")->FamiliarName(), "busybox");
  EXPECT_EQ(Reference::Parse("team/app")->FamiliarName(), "team/app");
  // Without the domain these would be another registry, or an image id.
  for (const std::string& name :
       {std::string("docker.io/localhost/app"), std::string("docker.io/a.b/c"), "docker.io/library/" + kHex}) {
    EXPECT_EQ(Reference::Parse(name)->FamiliarName(), name);
  }
}

TEST(ReferenceTest, LibrarySchemeIsAnAlias) {
  Result<Reference> reference = Reference::Parse("library://sashayakovtseva/test/test-info", "other.test");
  ASSERT_TRUE(reference.ok()) << reference.status().ToString();
  EXPECT_EQ(reference->String(), "cloud.sylabs.io/sashayakovtseva/test/test-info:latest");
  EXPECT_EQ(Reference::Parse("library://a/b/c:v1")->TaggedName(), "cloud.sylabs.io/a/b/c:v1");
  for (const char* bad : {"library://", "library:///a", "library://library://a", "library://a/../b", "library:/a"}) {
    EXPECT_EQ(Reference::Parse(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(ReferenceTest, KnowsIds) {
  EXPECT_TRUE(IsImageId(kHex));
  EXPECT_TRUE(IsImageId(kDigest));
  EXPECT_FALSE(IsImageId(kHex.substr(1)));
  EXPECT_TRUE(IsImageIdPrefix("abc"));
  EXPECT_TRUE(IsImageIdPrefix("sha256:abc"));
  EXPECT_FALSE(IsImageIdPrefix("ab"));
  EXPECT_FALSE(IsImageIdPrefix("ABC"));
  EXPECT_FALSE(IsImageIdPrefix("busybox"));
}

}  // namespace
}  // namespace davit::image
