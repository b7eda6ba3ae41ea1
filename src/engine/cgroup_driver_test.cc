#include "engine/cgroup_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::engine {
namespace {

using ::testing::HasSubstr;

const SystemdFacts kNone{false, Status()};
const SystemdFacts kRunning{true, Status()};
const SystemdFacts kNoBus{true, Unavailable("connect to the system bus: No such file or directory")};

TEST(CgroupDriverTest, AutoIsSystemdOnlyWhereItRunsAndAnswers) {
  EXPECT_TRUE(*UseSystemdCgroups("auto", kRunning));
  EXPECT_FALSE(*UseSystemdCgroups("auto", kNone));
  EXPECT_FALSE(*UseSystemdCgroups("auto", kNoBus));
}

TEST(CgroupDriverTest, WhatIsAskedForIsUsedOrRefused) {
  EXPECT_TRUE(*UseSystemdCgroups("systemd", kRunning));
  EXPECT_FALSE(*UseSystemdCgroups("cgroupfs", kRunning));
  EXPECT_FALSE(*UseSystemdCgroups("cgroupfs", kNone));
  Status none = UseSystemdCgroups("systemd", kNone).status();
  EXPECT_EQ(none.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(none.message(), HasSubstr("set it to \"cgroupfs\""));
  Status no_bus = UseSystemdCgroups("systemd", kNoBus).status();
  EXPECT_EQ(no_bus.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(no_bus.message(), HasSubstr("start dbus.socket"));
  EXPECT_THAT(no_bus.message(), HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace davit::engine
