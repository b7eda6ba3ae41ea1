#include "container/devices.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "sys/temp_dir.h"

namespace davit::container {
namespace {

const oci::Device* Find(const oci::Linux& linux_part, const std::string& path) {
  for (const oci::Device& device : linux_part.devices) {
    if (device.path == path) return &device;
  }
  return nullptr;
}

bool Allows(const oci::Linux& linux_part, int64_t major, int64_t minor, const std::string& access) {
  return std::any_of(linux_part.resources.devices.begin(), linux_part.resources.devices.end(), [&](const auto& rule) {
    return rule.allow && rule.type == 'c' && rule.major == major && rule.minor == minor && rule.access == access;
  });
}

TEST(DevicesTest, ARequestedDeviceHasTheHostsNumbersAndOnlyTheAskedAccess) {
  ContainerSpec spec;
  spec.devices = {{"/dev/nothing", "/dev/null", "r"}};
  oci::Linux linux_part;
  ASSERT_TRUE(AddDevices(spec, true, linux_part).ok());
  const oci::Device* device = Find(linux_part, "/dev/nothing");
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->type, 'c');
  EXPECT_EQ(device->major, 1);
  EXPECT_EQ(device->minor, 3);
  EXPECT_TRUE(Allows(linux_part, 1, 3, "r"));
}

TEST(DevicesTest, NoPermissionsMeansAll) {
  oci::Linux linux_part;
  ASSERT_TRUE(AddDevice({"/dev/x", "/dev/zero", ""}, "devices[0]", linux_part).ok());
  EXPECT_TRUE(Allows(linux_part, 1, 5, "rwm"));
}

TEST(DevicesTest, TheLaterWordAboutAPathWins) {
  ContainerSpec spec;
  spec.devices = {{"/dev/x", "/dev/null", "r"}, {"/dev/x", "/dev/zero", "r"}};
  oci::Linux linux_part;
  ASSERT_TRUE(AddDevices(spec, true, linux_part).ok());
  ASSERT_EQ(linux_part.devices.size(), 1u);
  EXPECT_EQ(linux_part.devices[0].minor, 5);
}

TEST(DevicesTest, BadRequestsNameTheField) {
  struct Case {
    Device device;
    std::string field;
  };
  for (const Case& bad : {Case{{"/dev/x", "/dev/null", "rx"}, "devices[0].permissions"},
                          Case{{"/dev/x", "/dev/null", "rwmr"}, "devices[0].permissions"},
                          Case{{"dev/x", "/dev/null", ""}, "devices[0].container_path"},
                          Case{{"/dev/../etc/x", "/dev/null", ""}, "devices[0].container_path"},
                          Case{{"/dev/x", "null", ""}, "devices[0].host_path"},
                          Case{{"/dev/x", "/dev/../etc", ""}, "devices[0].host_path"}}) {
    Status status = ValidateDevices({bad.device});
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(bad.field), std::string::npos) << status.message();
  }
}

TEST(DevicesTest, WhatIsNoDeviceIsRefused) {
  oci::Linux linux_part;
  Status status = AddDevice({"/dev/x", "/etc/passwd", "r"}, "devices[0]", linux_part);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("/etc/passwd"), std::string::npos) << status.message();
  EXPECT_EQ(AddDevice({"/dev/x", "/dev/not-there", "r"}, "devices[0]", linux_part).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(linux_part.devices.empty());
}

TEST(DevicesTest, PrivilegedWithoutHostDevicesHasTheRulesOfAnOrdinaryContainer) {
  ContainerSpec spec;
  spec.security.privileged = true;
  oci::Linux all;
  ASSERT_TRUE(AddDevices(spec, /*host_devices=*/true, all).ok());
  EXPECT_EQ(all.resources.devices.size(), oci::AllowAllDevices().size());
  EXPECT_EQ(Find(all, "/dev/null"), nullptr) << "the runtime makes it";
  oci::Linux none;
  ASSERT_TRUE(AddDevices(spec, /*host_devices=*/false, none).ok());
  EXPECT_EQ(none.resources.devices.size(), oci::DefaultDeviceRules().size());
  EXPECT_TRUE(none.devices.empty());
}

TEST(RootDevicesTest, ADirectoryGivesItsDevicesAndThoseBelow) {
  sys::TempDir dir;
  const std::string root = dir.path();
  ASSERT_EQ(::mkdir((root + "/sub").c_str(), 0755), 0);
  if (::mknod((root + "/a").c_str(), S_IFCHR | 0640, makedev(1, 3)) != 0) GTEST_SKIP() << "mknod is not allowed here";
  ASSERT_EQ(::mknod((root + "/sub/b").c_str(), S_IFCHR | 0600, makedev(1, 5)), 0);
  ASSERT_EQ(::chmod((root + "/a").c_str(), 0640), 0);
  ASSERT_EQ(::symlink("/dev/full", (root + "/link").c_str()), 0);  // names, not nodes, are not followed
  oci::Linux linux_part;
  Status added = AddDevice({"/dev/set", root, "rw"}, "devices[0]", linux_part);
  ASSERT_TRUE(added.ok()) << added.message();
  ASSERT_EQ(linux_part.devices.size(), 2u);
  ASSERT_NE(Find(linux_part, "/dev/set/a"), nullptr);
  EXPECT_EQ(Find(linux_part, "/dev/set/a")->file_mode, 0640u);
  EXPECT_NE(Find(linux_part, "/dev/set/sub/b"), nullptr);
  EXPECT_TRUE(Allows(linux_part, 1, 5, "rw"));
}

}  // namespace
}  // namespace davit::container
