#include "trust/lookaside.h"

#include <gtest/gtest.h>

namespace davit::trust {
namespace {

image::Reference Name(std::string_view text) { return *image::Reference::Parse(text); }

TEST(LookasideTest, LongestNamespaceCounts) {
  Result<Lookasides> all = Lookasides::Parse({{"a.yaml", R"(
default-docker:
  lookaside: file:///var/lib/sigs/
  lookaside-staging: file:///var/lib/out
docker:
  h.io: {sigstore: https://sigs.h.io/all}
  h.io/ns: {lookaside: "http://sigs.h.io/ns", use-sigstore-attachments: false}
  h.io/ns/deep: {use-sigstore-attachments: true}
)"}});
  ASSERT_TRUE(all.ok()) << all.status().message();
  EXPECT_EQ(all->For(Name("busybox")), "file:///var/lib/sigs/library/busybox");
  EXPECT_EQ(all->For(Name("h.io/x:v1")), "https://sigs.h.io/all/x");
  EXPECT_EQ(all->For(Name("h.io/ns/x:v1")), "http://sigs.h.io/ns/ns/x");
  EXPECT_EQ(all->For(Name("h.io/ns/deep/x:v1")), "http://sigs.h.io/ns/ns/deep/x");
  EXPECT_TRUE(all->Attachments(Name("h.io/x")));
  EXPECT_FALSE(all->Attachments(Name("h.io/ns/x")));
  EXPECT_TRUE(all->Attachments(Name("h.io/ns/deep/x")));
}

TEST(LookasideTest, RefusesMistakes) {
  for (const char* text :
       {"other: 1", "docker: 1", "docker: {h.io: {x: 1}}", "docker: {h.io: {lookaside: 'ftp://x'}}", "{", "- 1",
        "docker: {h.io: {use-sigstore-attachments: maybe}}", "docker: {h.io: {lookaside: 'file://relative'}}"}) {
    EXPECT_EQ(Lookasides::Parse({{"a.yaml", text}}).code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(Lookasides::Parse({{"a.yaml", "docker: {h.io: {}}"}, {"b.yaml", "docker: {h.io: {}}"}}).ok());
  EXPECT_FALSE(Lookasides::Parse({{"a.yaml", "default-docker: {}"}, {"b.yaml", "default-docker: {}"}}).ok());
}

TEST(LookasideTest, NothingConfigured) {
  Result<Lookasides> none = Lookasides::Load("/nonexistent/registries.d");
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->For(Name("busybox")).has_value());
}

}  // namespace
}  // namespace davit::trust
