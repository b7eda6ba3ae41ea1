#include "sys/systemd_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::sys {
namespace {

using ::testing::HasSubstr;

TEST(SystemdNamesTest, ASliceLiesInTheSlicesOfItsPrefixes) {
  EXPECT_EQ(*SlicePath("test.slice"), "/test.slice");
  EXPECT_EQ(*SlicePath("kubepods-besteffort-podab_12.slice"),
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podab_12.slice");
  EXPECT_EQ(*SlicePath("a-b.c.slice"), "/a.slice/a-b.c.slice");
  EXPECT_EQ(*SlicePath("-.slice"), "");
}

TEST(SystemdNamesTest, RejectsWhatSystemdWouldReject) {
  for (const char* name : {"", "slice", ".slice", "a", "a.scope", "-a.slice", "a-.slice", "a--b.slice", "--.slice",
                           "a/b.slice", "a b.slice", "a@1.slice", "a\n.slice", "\xc3\xa4.slice"}) {
    EXPECT_EQ(SlicePath(name).code(), StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(SlicePath(std::string(300, 'a') + ".slice").code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(SlicePath("a--b.slice").status().message(), HasSubstr("a--b.slice"));
}

TEST(SystemdNamesTest, AParentIsANameOrItsOwnPath) {
  EXPECT_EQ(*SliceOfParent("/test.slice"), "/test.slice");
  EXPECT_EQ(*SliceOfParent("test.slice"), "/test.slice");
  EXPECT_EQ(*SliceOfParent("test.slice/"), "/test.slice");
  EXPECT_EQ(*SliceOfParent("kubepods-pod1.slice"), "/kubepods.slice/kubepods-pod1.slice");
  EXPECT_EQ(*SliceOfParent("/kubepods-pod1.slice"), "/kubepods.slice/kubepods-pod1.slice");
  EXPECT_EQ(*SliceOfParent("/kubepods.slice/kubepods-pod1.slice"), "/kubepods.slice/kubepods-pod1.slice");
}

TEST(SystemdNamesTest, RefusesAParentThatIsNoSliceOrElsewhere) {
  EXPECT_THAT(SliceOfParent("/kubepods/pod1").status().message(), HasSubstr("does not end with \".slice\""));
  EXPECT_THAT(SliceOfParent("/x.slice/kubepods-pod1.slice").status().message(),
              HasSubstr("\"/kubepods.slice/kubepods-pod1.slice\""));
  EXPECT_THAT(SliceOfParent("/../test.slice").status().message(), HasSubstr("\"/test.slice\""));
  EXPECT_EQ(SliceOfParent("-.slice").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(SliceOfParent("/").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(SliceOfParent("").code(), StatusCode::kInvalidArgument);
}

TEST(SystemdNamesTest, WhatIsBelowASliceIsAScope) {
  EXPECT_EQ(ChildCgroup("/a.slice/a-b.slice", "davit-12"), "/a.slice/a-b.slice/davit-12.scope");
  EXPECT_EQ(ChildCgroup("/kubepods/pod1", "davit-12"), "/kubepods/pod1/davit-12");
  EXPECT_TRUE(IsScope("/a.slice/davit-12.scope"));
  EXPECT_FALSE(IsScope("/a.slice/davit-12.scope/x"));
  EXPECT_TRUE(IsSlice("/a.slice"));
  EXPECT_FALSE(IsSlice("/a.slice/x"));
  EXPECT_EQ(UnitName("/a.slice/davit-12.scope"), "davit-12.scope");
}

TEST(SystemdNamesTest, TheRuntimeGetsItsOwnNotation) {
  EXPECT_EQ(RuntimeCgroupsPath("/a.slice/a-b.slice/davit-12ab.scope"), "a-b.slice:davit:12ab");
  EXPECT_EQ(RuntimeCgroupsPath("/davit-12ab.scope"), "-.slice:davit:12ab");
  EXPECT_EQ(RuntimeCgroupsPath("/kubepods/pod1/davit-12ab"), "/kubepods/pod1/davit-12ab");
  EXPECT_EQ(RuntimeCgroupsPath("/a.slice/plain.scope"), "/a.slice/plain.scope");
}

}  // namespace
}  // namespace davit::sys
