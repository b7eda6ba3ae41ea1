#include "container/apparmor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

class AppArmorTest : public ::testing::Test {
 protected:
  AppArmorTest() {
    paths_ = {dir_.At("enabled"), dir_.At("profiles"), dir_.At("parser")};
    Write("enabled", "Y\n", 0644);
    Write("profiles", "other (enforce)\nwith blank (v2) (complain)\n", 0644);
  }
  void Write(const std::string& name, const std::string& text, unsigned mode) {
    ASSERT_TRUE(sys::WriteFileAtomic(dir_.At(name), text, mode, sys::Durability::kAtomic).ok());
  }
  // A parser that says what it got and ends as told.
  void InstallParser(const std::string& end) {
    Write("parser", "#!/bin/sh\necho \"$@\" > " + dir_.At("called") + "\n" + end + "\n", 0755);
  }
  AppArmorNode Prepare() { return PrepareAppArmor(dir_.path(), Deadline::After(std::chrono::seconds(30)), paths_); }
  static SecurityContext With(ProfileType type, const std::string& ref = "") {
    SecurityContext security;
    security.apparmor = SecurityProfile{type, ref};
    return security;
  }

  sys::TempDir dir_;
  AppArmorPaths paths_;
};

TEST(AppArmorListTest, NamesAreWholeAndTheModeComesLast) {
  const std::string list = "a (enforce)\nb (x) (complain)\nc d (enforce)";
  EXPECT_TRUE(HasAppArmorProfile(list, "a"));
  EXPECT_TRUE(HasAppArmorProfile(list, "b (x)"));
  EXPECT_TRUE(HasAppArmorProfile(list, "c d"));
  EXPECT_FALSE(HasAppArmorProfile(list, "b"));
  EXPECT_FALSE(HasAppArmorProfile(list, "c"));
  EXPECT_FALSE(HasAppArmorProfile(list, ""));
  EXPECT_FALSE(HasAppArmorProfile("", "a"));
}

TEST(AppArmorFieldTest, TheDeprecatedFieldHasThreeForms) {
  EXPECT_FALSE(ParseAppArmorField("")->has_value());
  EXPECT_EQ((*ParseAppArmorField("runtime/default"))->type, ProfileType::kRuntimeDefault);
  EXPECT_EQ((*ParseAppArmorField("unconfined"))->type, ProfileType::kUnconfined);
  EXPECT_EQ((*ParseAppArmorField("localhost/p/q"))->localhost_ref, "p/q");
  Result<std::optional<SecurityProfile>> bad = ParseAppArmorField("p");
  EXPECT_EQ(bad.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(bad.status().message().find("apparmor_profile"), std::string::npos);
}

TEST_F(AppArmorTest, TheDefaultProfileIsLoadedOnce) {
  InstallParser("exit 0");
  AppArmorNode node = Prepare();
  EXPECT_TRUE(node.enabled);
  EXPECT_TRUE(node.default_loaded);
  EXPECT_EQ(*sys::ReadFile(dir_.At("called"), 4096),
            "--replace --skip-cache " + dir_.At("apparmor-davit-default") + "\n");
  EXPECT_EQ(*sys::ReadFile(dir_.At("apparmor-davit-default"), 1 << 16), DefaultAppArmorProfileText());
  EXPECT_EQ(*ResolveAppArmor(With(ProfileType::kRuntimeDefault), node), "davit-default");
  EXPECT_EQ(*ResolveAppArmor(SecurityContext(), node), "davit-default");

  ASSERT_TRUE(sys::RemoveTree(dir_.At("called")).ok());
  Write("profiles", "davit-default (enforce)\n", 0644);
  EXPECT_TRUE(Prepare().default_loaded);
  EXPECT_EQ(sys::ReadFile(dir_.At("called"), 4096).code(), StatusCode::kNotFound) << "an administrator's own stays";
}

TEST_F(AppArmorTest, ADefaultThatDoesNotLoadIsRefusedOnlyToThoseWhoAskForIt) {
  InstallParser("echo 'syntax error in line 3' >&2; exit 1");
  AppArmorNode node = Prepare();
  EXPECT_FALSE(node.default_loaded);
  EXPECT_NE(node.problem.find("syntax error in line 3"), std::string::npos) << node.problem;
  EXPECT_EQ(*ResolveAppArmor(SecurityContext(), node), "");
  Result<std::string> asked = ResolveAppArmor(With(ProfileType::kRuntimeDefault), node);
  EXPECT_EQ(asked.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(asked.status().message().find("syntax error in line 3"), std::string::npos);
}

TEST_F(AppArmorTest, WithoutTheParserTheProblemNamesThePackage) {
  AppArmorNode node = Prepare();
  EXPECT_FALSE(node.default_loaded);
  EXPECT_NE(node.problem.find("package apparmor"), std::string::npos) << node.problem;
}

TEST_F(AppArmorTest, LocalhostProfilesMustBeLoaded) {
  AppArmorNode node = Prepare();
  EXPECT_EQ(*ResolveAppArmor(With(ProfileType::kLocalhost, "other"), node), "other");
  EXPECT_EQ(*ResolveAppArmor(With(ProfileType::kLocalhost, "localhost/other"), node), "other");
  Result<std::string> absent = ResolveAppArmor(With(ProfileType::kLocalhost, "absent"), node);
  EXPECT_EQ(absent.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(absent.status().message().find("\"absent\" is not loaded"), std::string::npos);
  // Loaded later: the list is read each time.
  Write("profiles", "absent (enforce)\n", 0644);
  EXPECT_TRUE(ResolveAppArmor(With(ProfileType::kLocalhost, "absent"), node).ok());
  EXPECT_EQ(ResolveAppArmor(With(ProfileType::kLocalhost, ""), node).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ResolveAppArmor(With(ProfileType::kLocalhost, "a\n"), node).code(), StatusCode::kInvalidArgument);
}

TEST_F(AppArmorTest, PrivilegedAndUnconfinedSayUnconfined) {
  AppArmorNode node = Prepare();
  EXPECT_EQ(*ResolveAppArmor(With(ProfileType::kUnconfined), node), "unconfined");
  SecurityContext privileged = With(ProfileType::kLocalhost, "absent");
  privileged.privileged = true;
  EXPECT_EQ(*ResolveAppArmor(privileged, node), "unconfined");
}

TEST_F(AppArmorTest, WithoutAppArmorOnlyLocalhostIsAnError) {
  Write("enabled", "N\n", 0644);
  AppArmorNode node = Prepare();
  EXPECT_FALSE(node.enabled);
  EXPECT_TRUE(node.problem.empty());
  EXPECT_EQ(*ResolveAppArmor(With(ProfileType::kRuntimeDefault), node), "");
  EXPECT_EQ(*ResolveAppArmor(With(ProfileType::kUnconfined), node), "");
  EXPECT_EQ(ResolveAppArmor(With(ProfileType::kLocalhost, "other"), node).code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace davit::container
