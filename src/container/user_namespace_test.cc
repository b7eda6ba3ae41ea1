#include "container/user_namespace.h"

#include <gtest/gtest.h>

namespace davit::container {
namespace {

const std::vector<IdMapping> kMap = {{100'000, 0, 65'536}};

PodEnvironment MappedPod() {
  PodEnvironment pod;
  pod.user_namespace = "/run/x/ns/user";
  pod.uid_mappings = kMap;
  pod.gid_mappings = kMap;
  return pod;
}

TEST(ContainerUserNamespaceTest, AContainerSaysNothingOrThePodsOwn) {
  ContainerSpec spec;
  EXPECT_TRUE(ValidateUserNamespace(spec, MappedPod()).ok());
  spec.security.namespaces.user = UserNamespace{NamespaceMode::kPod, kMap, kMap};
  spec.mounts.push_back({.container_path = "/a", .host_path = "/tmp", .uid_mappings = kMap, .gid_mappings = kMap});
  EXPECT_TRUE(ValidateUserNamespace(spec, MappedPod()).ok());
}

TEST(ContainerUserNamespaceTest, WhatDoesNotFitThePodIsRefusedByName) {
  auto expect = [](const ContainerSpec& spec, const PodEnvironment& pod, const char* field) {
    Status status = ValidateUserNamespace(spec, pod);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << field;
    EXPECT_NE(status.message().find(field), std::string::npos) << status.message();
  };
  ContainerSpec spec;
  spec.security.namespaces.user = UserNamespace{NamespaceMode::kPod, kMap, kMap};
  expect(spec, {}, "userns_options.mode");
  spec.security.namespaces.user->mode = NamespaceMode::kNode;
  expect(spec, MappedPod(), "userns_options.mode");
  spec.security.namespaces.user = UserNamespace{NamespaceMode::kPod, {{200'000, 0, 65'536}}, kMap};
  expect(spec, MappedPod(), "userns_options.uids");
  spec.security.namespaces.user = UserNamespace{NamespaceMode::kPod, kMap, {}};
  expect(spec, MappedPod(), "userns_options.gids");
  spec = {};
  spec.security.namespaces.pid = NamespaceMode::kNode;
  expect(spec, MappedPod(), "pid: NODE");

  spec = {};
  spec.mounts.push_back({.container_path = "/a", .host_path = "/tmp", .uid_mappings = kMap, .gid_mappings = kMap});
  expect(spec, {}, "mounts[0].uidMappings");
  spec.mounts[0].gid_mappings.clear();
  expect(spec, MappedPod(), "mounts[0].gidMappings");
  spec.mounts[0] = {.container_path = "/a", .host_path = "/tmp", .propagation = MountPropagation::kBidirectional};
  expect(spec, MappedPod(), "mounts[0].propagation");
}

TEST(ContainerUserNamespaceTest, TheSpecNamesTheNamespaceAndItsMap) {
  oci::Linux linux_part;
  AddUserNamespace({}, linux_part);
  EXPECT_TRUE(linux_part.namespaces.empty());
  AddUserNamespace(MappedPod(), linux_part);
  ASSERT_EQ(linux_part.namespaces.size(), 1u);
  EXPECT_EQ(linux_part.namespaces[0].type, "user");
  ASSERT_EQ(linux_part.gid_mappings.size(), 1u);
  EXPECT_EQ(linux_part.gid_mappings[0].host_id, 100'000u);
  EXPECT_EQ(linux_part.gid_mappings[0].size, 65'536u);
}

}  // namespace
}  // namespace davit::container
