#include "cri/convert_stats.h"

#include <gtest/gtest.h>

namespace davit::cri {
namespace {

engine::ContainerStats Container() {
  auto record = std::make_shared<container::ContainerRecord>();
  record->id = ContainerId::Mint();
  record->spec.name = "main";
  record->spec.labels = {{"app", "web"}};
  engine::ContainerStats stats;
  stats.record = record;
  stats.timestamp = 42;
  return stats;
}

TEST(ConvertStatsTest, WhatIsNotKnownIsNotThere) {
  v1::ContainerStats out = ToContainerStats(Container(), "/var/lib/davit");
  EXPECT_EQ(out.cpu().timestamp(), 42);  // the kubelet wants the times
  EXPECT_EQ(out.memory().timestamp(), 42);
  EXPECT_FALSE(out.cpu().has_usage_core_nano_seconds());
  EXPECT_FALSE(out.cpu().has_usage_nano_cores());
  EXPECT_FALSE(out.cpu().has_psi());
  EXPECT_FALSE(out.memory().has_available_bytes());
  EXPECT_FALSE(out.has_swap());
  EXPECT_FALSE(out.has_io());
  EXPECT_FALSE(out.has_writable_layer());
}

TEST(ConvertStatsTest, AvailableIsTheLimitLessTheWorkingSet) {
  engine::ContainerStats stats = Container();
  stats.cgroup.emplace();
  stats.cgroup->memory_limit_bytes = 100;
  stats.cgroup->memory_working_set_bytes = 30;
  stats.cgroup->swap_usage_bytes = 5;
  stats.cgroup->swap_limit_bytes = 20;
  sys::PressureLine line;
  line.total_micros = 7;
  line.avg10 = 1.5;
  stats.cgroup->io_pressure = sys::Pressure{line, std::nullopt};
  stats.writable = engine::WritableLayer{4096, 3, 17};
  v1::ContainerStats out = ToContainerStats(stats, "/var/lib/davit");
  EXPECT_EQ(out.memory().available_bytes().value(), 70U);
  EXPECT_EQ(out.swap().swap_available_bytes().value(), 15U);
  EXPECT_EQ(out.io().psi().some().total(), 7000U);  // nanoseconds
  EXPECT_EQ(out.io().psi().some().avg10(), 1.5);
  EXPECT_FALSE(out.io().psi().has_full());
  EXPECT_EQ(out.writable_layer().timestamp(), 17);
  EXPECT_EQ(out.writable_layer().inodes_used().value(), 3U);
  stats.cgroup->memory_working_set_bytes = 130;  // charged for a moment beyond the limit
  EXPECT_EQ(ToContainerStats(stats, "").memory().available_bytes().value(), 0U);
}

TEST(ConvertStatsTest, TheDefaultInterfaceIsAmongThemAll) {
  auto record = std::make_shared<pod::PodRecord>();
  record->id = PodId::Mint();
  engine::PodStats stats;
  stats.record = record;
  stats.network = engine::NetworkUse{9, {{"net1", 1, 0, 2, 0, 3, 0, 4, 0}, {"eth0", 5, 0, 6, 0, 7, 0, 8, 0}}};
  stats.containers.push_back(Container());
  v1::PodSandboxStats out = ToPodSandboxStats(stats, "/var/lib/davit");
  const v1::NetworkUsage& network = out.linux().network();
  EXPECT_EQ(network.default_interface().name(), "eth0");
  EXPECT_EQ(network.default_interface().rx_bytes().value(), 5U);
  EXPECT_EQ(network.default_interface().tx_errors().value(), 8U);
  ASSERT_EQ(network.interfaces_size(), 2);  // all of them
  EXPECT_EQ(network.interfaces(0).name(), "net1");
  EXPECT_EQ(network.interfaces(1).name(), "eth0");
  EXPECT_FALSE(out.linux().has_cpu());
  EXPECT_EQ(out.linux().containers_size(), 1);
  stats.network.reset();
  EXPECT_FALSE(ToPodSandboxStats(stats, "").linux().has_network());
}

TEST(ConvertStatsTest, FiltersByIdPrefixAndLabels) {
  engine::ContainerStats stats = Container();
  v1::ContainerStatsFilter filter;
  EXPECT_TRUE(Matches(filter, *stats.record));
  filter.set_id(stats.record->id.str().substr(0, 8));
  (*filter.mutable_label_selector())["app"] = "web";
  EXPECT_TRUE(Matches(filter, *stats.record));
  (*filter.mutable_label_selector())["app"] = "db";
  EXPECT_FALSE(Matches(filter, *stats.record));
}

}  // namespace
}  // namespace davit::cri
