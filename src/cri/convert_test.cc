#include "cri/convert.h"

#include <gtest/gtest.h>

#include "cri/codes.h"

namespace davit::cri {
namespace {

TEST(ConvertTest, StopSignalsAreLinuxNumbers) {
  struct Case {
    v1::Signal signal;
    int number;
  };
  for (const Case& c : {Case{v1::SIGNAL_RUNTIME_DEFAULT, 0}, Case{v1::SIGNAL_SIGABRT, 6}, Case{v1::SIGNAL_SIGKILL, 9},
                        Case{v1::SIGNAL_SIGTERM, 15}, Case{v1::SIGNAL_SIGUSR1, 10}, Case{v1::SIGNAL_SIGUSR2, 12},
                        Case{v1::SIGNAL_SIGWINCH, 28}, Case{v1::SIGNAL_SIGXCPU, 24}, Case{v1::SIGNAL_SIGXFSZ, 25},
                        Case{v1::SIGNAL_SIGRTMIN, 34}, Case{v1::SIGNAL_SIGRTMINPLUS15, 49},
                        Case{v1::SIGNAL_SIGRTMAXMINUS14, 50}, Case{v1::SIGNAL_SIGRTMAX, 64}}) {
    v1::ContainerConfig config;
    config.set_stop_signal(c.signal);
    EXPECT_EQ(ToContainerSpec(config)->stop_signal, c.number) << v1::Signal_Name(c.signal);
    EXPECT_EQ(ToCriSignal(c.number), c.signal) << c.number;
  }
  v1::ContainerConfig bad;
  bad.set_stop_signal(static_cast<v1::Signal>(99));
  EXPECT_EQ(ToContainerSpec(bad).code(), StatusCode::kInvalidArgument);
}

TEST(ConvertTest, HugepageLimitsAreEqualInAnyOrder) {
  v1::LinuxContainerResources one;
  v1::LinuxContainerResources other;
  for (const auto& [size, limit] : {std::pair("2MB", 4), std::pair("1GB", 2)}) {
    auto* added = one.add_hugepage_limits();
    added->set_page_size(size);
    added->set_limit(limit);
  }
  other.mutable_hugepage_limits()->CopyFrom(one.hugepage_limits());
  other.mutable_hugepage_limits()->SwapElements(0, 1);
  sys::Resources first = ToResources(one);
  sys::Resources second = ToResources(other);
  ASSERT_EQ(first.hugepage_limits.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(first.hugepage_limits[i].page_size, second.hugepage_limits[i].page_size);
    EXPECT_EQ(first.hugepage_limits[i].limit, second.hugepage_limits[i].limit);
  }
}

// A pod in the root cgroup itself could not be taken away: nobody's cgroup is the root.
TEST(ConvertTest, TheRootAsCgroupParentIsNoParent) {
  v1::PodSandboxConfig config;
  config.mutable_linux()->set_cgroup_parent("/");
  EXPECT_EQ(ToPodSpec(config, "")->cgroup_parent, "");
  config.mutable_linux()->set_cgroup_parent("/burstable");
  EXPECT_EQ(ToPodSpec(config, "")->cgroup_parent, "/burstable");
}

TEST(ConvertTest, PortsOutOfRangeNameTheMapping) {
  v1::PodSandboxConfig config;
  config.add_port_mappings()->set_container_port(80);
  config.add_port_mappings()->set_container_port(70000);
  Result<pod::PodSpec> spec = ToPodSpec(config, "");
  EXPECT_EQ(spec.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(spec.status().message().find("port_mappings[1].container_port"), std::string::npos);
}

TEST(ConvertTest, UnknownEnumNumbersAreRefused) {
  v1::ContainerConfig config;
  config.add_mounts()->set_propagation(static_cast<v1::MountPropagation>(9));
  EXPECT_EQ(ToContainerSpec(config).code(), StatusCode::kInvalidArgument);
  v1::PodSandboxConfig pod;
  pod.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
      static_cast<v1::NamespaceMode>(9));
  EXPECT_EQ(ToPodSpec(pod, "").code(), StatusCode::kInvalidArgument);
}

TEST(ConvertTest, AnImagesUserIsANumberOrANameNeverBoth) {
  auto convert = [](const std::string& user) {
    image::ImageRecord record;
    record.user = user;
    return ToImage(record);
  };
  EXPECT_EQ(convert("1002").uid().value(), 1002);
  EXPECT_TRUE(convert("1002").username().empty());
  EXPECT_EQ(convert("1003:1004").uid().value(), 1003);
  EXPECT_EQ(convert("www-data:1004").username(), "www-data");
  EXPECT_FALSE(convert("www-data").has_uid());
}

TEST(ConvertTest, FiltersMatchByPrefixStateAndEveryLabel) {
  container::ContainerRecord record;
  record.id = *ContainerId::Parse(std::string(64, 'a'));
  record.pod = *PodId::Parse(std::string(64, 'b'));
  record.phase = container::Phase::kRunning;
  record.spec.labels = {{"app", "web"}, {"tier", "front"}};
  v1::ContainerFilter filter;
  EXPECT_TRUE(Matches(filter, record));
  filter.set_id("aaa");
  filter.set_pod_sandbox_id("b");
  filter.mutable_state()->set_state(v1::CONTAINER_RUNNING);
  (*filter.mutable_label_selector())["app"] = "web";
  EXPECT_TRUE(Matches(filter, record));
  (*filter.mutable_label_selector())["tier"] = "back";
  EXPECT_FALSE(Matches(filter, record));
  filter.clear_label_selector();
  filter.mutable_state()->set_state(v1::CONTAINER_EXITED);
  EXPECT_FALSE(Matches(filter, record));
}

TEST(CodesTest, MessagesAreCutAndKeptPrintable) {
  ::grpc::Status status = ToGrpc(NotFound("image \xff\x01" + std::string(20000, 'x')));
  EXPECT_EQ(status.error_code(), ::grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message().substr(0, 8), "image ??");
  EXPECT_EQ(status.error_message().size(), 8192u);
  EXPECT_TRUE(ToGrpc({}).ok());
}

}  // namespace
}  // namespace davit::cri
