#include "container/mounts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::container {
namespace {

bool HasOption(const oci::SpecMount& mount, const std::string& option) {
  return std::find(mount.options.begin(), mount.options.end(), option) != mount.options.end();
}

const oci::SpecMount* At(const MountPlan& plan, const std::string& destination) {
  const oci::SpecMount* found = nullptr;
  for (const oci::SpecMount& mount : plan.mounts) {
    if (mount.destination != destination) continue;
    EXPECT_EQ(found, nullptr) << destination << " twice";
    found = &mount;
  }
  return found;
}

TEST(MountsTest, ASymlinkedSourceIsMountedAtThePathAskedFor) {
  sys::TempDir dir;
  ASSERT_TRUE(sys::MakeDirectories(dir.path() + "/real", 0755).ok());
  ASSERT_EQ(::symlink("real", (dir.path() + "/link").c_str()), 0);
  ContainerSpec spec;
  spec.mounts.push_back({.container_path = "/data//x/", .host_path = dir.path() + "/link", .readonly = true});
  Result<MountPlan> plan = PlanMounts(spec, {});
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  const oci::SpecMount* mount = At(*plan, "/data/x");
  ASSERT_NE(mount, nullptr);
  EXPECT_EQ(mount->source, dir.path() + "/real");
  EXPECT_TRUE(HasOption(*mount, "ro"));
  EXPECT_TRUE(HasOption(*mount, "rprivate"));
}

TEST(MountsTest, AMissingSourceIsMadeAndADanglingLinkIsRefused) {
  sys::TempDir dir;
  ContainerSpec spec;
  spec.mounts.push_back({.container_path = "/a", .host_path = dir.At("new/deep")});
  Result<MountPlan> plan = PlanMounts(spec, {});
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_EQ(::access(dir.At("new/deep").c_str(), F_OK), 0);
  ASSERT_EQ(::symlink("nowhere", dir.At("link").c_str()), 0);
  spec.mounts[0].host_path = dir.At("link");
  plan = PlanMounts(spec, {});
  EXPECT_EQ(plan.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(plan.status().message().find("mounts[0].host_path: " + dir.At("link")), std::string::npos);
}

TEST(MountsTest, AnImageAndAMappedPathAreMountedByDavitItself) {
  ContainerSpec spec;
  spec.mounts.push_back({.container_path = "/a", .host_path = "/tmp"});
  spec.mounts.push_back({.container_path = "/i", .image = "x", .image_sub_path = "s"});
  spec.mounts.push_back({.container_path = "/m", .host_path = "/tmp", .uid_mappings = {{1, 0, 1}}});
  Result<MountPlan> plan = PlanMounts(spec, {}, "/run/x");
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  ASSERT_EQ(plan->own.size(), 2u);
  EXPECT_EQ(plan->own[0].index, 1u);
  EXPECT_EQ(plan->own[0].sub_path, "s");
  EXPECT_EQ(plan->own[1].host_path, "/tmp");
  EXPECT_EQ(At(*plan, "/i")->source, "/run/x/1");
  EXPECT_TRUE(HasOption(*At(*plan, "/i"), "ro"));
  EXPECT_EQ(At(*plan, "/m")->source, "/run/x/2");
}

TEST(MountsTest, APartOfAVolumeIsMountedByDescriptor) {
  ContainerSpec spec;
  spec.mounts.push_back({.container_path = "/v", .host_path = "/tmp", .volume = "v"});
  spec.mounts.push_back({.container_path = "/p", .host_path = "/tmp", .volume = "v", .volume_sub_path = "a/b"});
  ASSERT_TRUE(ValidateMounts(spec.mounts, false).ok());
  Result<MountPlan> plan = PlanMounts(spec, {}, "/run/x");
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  ASSERT_EQ(plan->own.size(), 1u);
  EXPECT_EQ(plan->own[0].sub_path, "a/b");
  EXPECT_EQ(At(*plan, "/v")->source, "/tmp");
  EXPECT_EQ(At(*plan, "/p")->source, "/run/x/1");
}

TEST(MountsTest, MountOptionsReachTheMount) {
  ContainerSpec spec;
  spec.mounts.push_back({.container_path = "/a", .host_path = "/tmp", .mount_options = {"noexec", "nodev"}});
  Result<MountPlan> plan = PlanMounts(spec, {});
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_TRUE(HasOption(*At(*plan, "/a"), "noexec"));
  EXPECT_TRUE(HasOption(*At(*plan, "/a"), "nodev"));
}

TEST(MountsTest, ARequestReplacesTheDefaultAndThePodsFile) {
  PodEnvironment pod;
  pod.hosts_file = "/run/x/hosts";
  pod.shm_directory = "/run/x/shm";
  ContainerSpec spec;
  spec.mounts.push_back({.container_path = "/etc/hosts", .host_path = "/etc/hostname"});
  spec.mounts.push_back({.container_path = "/dev/shm", .host_path = "/tmp"});
  Result<MountPlan> plan = PlanMounts(spec, pod);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_NE(At(*plan, "/etc/hosts")->source, "/run/x/hosts");
  EXPECT_NE(At(*plan, "/dev/shm")->source, "/run/x/shm");
}

TEST(MountsTest, ParentsComeBeforeChildren) {
  ContainerSpec spec;
  spec.mounts.push_back({.container_path = "/a/b/c", .host_path = "/tmp"});
  spec.mounts.push_back({.container_path = "/a", .host_path = "/tmp"});
  Result<MountPlan> plan = PlanMounts(spec, {});
  ASSERT_TRUE(plan.ok());
  auto position = [&](const std::string& destination) { return At(*plan, destination) - plan->mounts.data(); };
  EXPECT_LT(position("/a"), position("/a/b/c"));
  EXPECT_LT(position("/dev"), position("/dev/pts"));
}

TEST(MountsTest, ValidationNamesTheField) {
  struct Case {
    Mount mount;
    std::string field;
  };
  for (const Case& c :
       {Case{{.container_path = "rel", .host_path = "/tmp"}, "mounts[0].container_path"},
        Case{{.container_path = "/a/../b", .host_path = "/tmp"}, "mounts[0].container_path"},
        Case{{.container_path = "/", .host_path = "/tmp"}, "mounts[0].container_path"},
        Case{{.container_path = "/a", .host_path = "tmp"}, "mounts[0].host_path"},
        Case{{.container_path = "/a", .host_path = "/tmp", .image = "x"}, "mounts[0].host_path"},
        Case{{.container_path = "/a", .image = "x", .image_sub_path = "../b"}, "mounts[0].image_sub_path"},
        Case{{.container_path = "/a", .image = "x", .volume = "v"}, "mounts[0].volume"},
        Case{{.container_path = "/a", .volume = "v", .volume_sub_path = "../b"}, "mounts[0].volume_sub_path"},
        Case{{.container_path = "/a", .propagation = MountPropagation::kHostToContainer, .image = "x"},
             "mounts[0].propagation"},
        Case{{.container_path = "/a", .host_path = "/tmp", .mount_options = {"noatime"}},
             "mounts[0].mount_options: \"noatime\""},
        Case{{.container_path = "/a", .host_path = "/tmp", .recursive_read_only = true},
             "mounts[0].recursive_read_only"}}) {
    Status status = ValidateMounts({c.mount}, true);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.field;
    EXPECT_NE(status.message().find(c.field), std::string::npos) << status.message();
  }
}

TEST(MountsTest, RecursiveReadOnlyNeedsPrivatePropagationAndARuntimeThatCan) {
  Mount mount{.container_path = "/a", .host_path = "/tmp", .readonly = true, .recursive_read_only = true};
  EXPECT_TRUE(ValidateMounts({mount}, true).ok());
  EXPECT_FALSE(ValidateMounts({mount}, false).ok());
  mount.propagation = MountPropagation::kHostToContainer;
  EXPECT_FALSE(ValidateMounts({mount}, true).ok());
}

}  // namespace
}  // namespace davit::container
