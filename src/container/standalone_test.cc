#include "container/standalone.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace davit::container {
namespace {

TEST(StandaloneSpecTest, TakesNamesAsDockerDoes) {
  for (const char* good : {"a", "web-1", "A.b_c", "0"}) EXPECT_TRUE(ValidateName(good, "name").ok()) << good;
  for (const std::string& bad : {std::string(), std::string("-a"), std::string("a b"), std::string("a/b"),
                                 std::string("ä"), std::string(256, 'a')}) {
    Status status = ValidateName(bad, "name");
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find("name"), std::string::npos);
  }
}

TEST(StandaloneSpecTest, RefusesWhatContradictsItself) {
  auto refused = [](auto change) {
    StandaloneSpec spec;
    change(spec);
    return ValidateStandalone(spec).message();
  };
  EXPECT_NE(refused([](auto& s) { s.restart.name = "sometimes"; }).find("sometimes"), std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.restart = {"always", 3}; }).find("on-failure"), std::string::npos);
  EXPECT_NE(refused([](auto& s) {
              s.restart.name = "always";
              s.auto_remove = true;
            }).find("exclude"),
            std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.health.emplace().test = {"CMD"}; }).find("health.test"), std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.umask = "99"; }).find("99"), std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.ulimits = {{"files", 1, 1}}; }).find("files"), std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.ulimits = {{"nofile", -1, 10}}; }).find("soft"), std::string::npos);
  EXPECT_NE(refused([](auto& s) { s.volumes.push_back({"data", "relative"}); }).find("relative"), std::string::npos);
  EXPECT_TRUE(ValidateStandalone(StandaloneSpec()).ok());
}

TEST(StandaloneSpecTest, AppliesUmaskAndLimits) {
  StandaloneSpec spec;
  spec.umask = "0027";
  spec.ulimits = {{"nofile", 64, 128}, {"RLIMIT_CORE", 0, 0}};
  oci::RuntimeSpec out;
  ASSERT_TRUE(ApplyStandalone(spec, out).ok());
  EXPECT_EQ(out.process.user.umask, 027u);
  ASSERT_EQ(out.process.rlimits.size(), 2u);
  EXPECT_EQ(out.process.rlimits[0].type, "RLIMIT_NOFILE");
  EXPECT_EQ(out.process.rlimits[0].soft, 64u);
  EXPECT_EQ(out.process.rlimits[0].hard, 128u);
  EXPECT_EQ(out.process.rlimits[1].type, "RLIMIT_CORE");
}

TEST(StandaloneSpecTest, LowersAHardLimitToWhatTheNodeAllows) {
  struct rlimit own {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &own), 0);
  StandaloneSpec spec;
  spec.ulimits = {{"nofile", -1, -1}};
  oci::RuntimeSpec out;
  ASSERT_TRUE(ApplyStandalone(spec, out).ok());
  EXPECT_EQ(out.process.rlimits[0].hard, own.rlim_max);
  EXPECT_EQ(out.process.rlimits[0].soft, own.rlim_max);
}

}  // namespace
}  // namespace davit::container
