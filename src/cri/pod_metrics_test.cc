#include "cri/pod_metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace davit::cri {
namespace {

sys::CgroupDetail FullDetail() {
  sys::CgroupDetail detail;
  sys::CgroupStats& stats = detail.stats;
  for (auto field :
       {&sys::CgroupStats::cpu_usage_nanos, &sys::CgroupStats::memory_usage_bytes,
        &sys::CgroupStats::memory_working_set_bytes, &sys::CgroupStats::memory_rss_bytes,
        &sys::CgroupStats::memory_limit_bytes, &sys::CgroupStats::page_faults, &sys::CgroupStats::major_page_faults,
        &sys::CgroupStats::swap_usage_bytes, &sys::CgroupStats::swap_limit_bytes, &sys::CgroupStats::pids}) {
    stats.*field = 3'500'000'000;
  }
  for (auto field :
       {&sys::CgroupStats::cpu_pressure, &sys::CgroupStats::memory_pressure, &sys::CgroupStats::io_pressure}) {
    sys::PressureLine line;
    line.total_micros = 2'900'000;
    stats.*field = sys::Pressure{line, line};
  }
  using D = sys::CgroupDetail;
  for (auto field : {&D::cpu_user_nanos, &D::cpu_system_nanos, &D::cpu_periods, &D::cpu_throttled_periods,
                     &D::cpu_throttled_nanos, &D::cpu_shares, &D::cpu_quota_micros, &D::cpu_period_micros,
                     &D::memory_cache_bytes, &D::memory_mapped_file_bytes, &D::memory_kernel_bytes,
                     &D::memory_active_file_bytes, &D::memory_inactive_file_bytes, &D::memory_max_usage_bytes,
                     &D::memory_limit_hits, &D::memory_reservation_bytes, &D::oom_kills, &D::pids_limit}) {
    detail.*field = 1'000'000'001;
  }
  detail.io.push_back({8, 0, 1, 2, 3, 4, "/dev/sda"});
  detail.hugepages.push_back({"2MB", 5, 6});
  return detail;
}

engine::PodNumbers FullPod() {
  auto pod = std::make_shared<pod::PodRecord>();
  pod->id = PodId::Mint();
  pod->cgroup = "/kubepods/pod1";
  pod->created_at = 1'700'000'000'000'000'000;
  pod->spec.name = "web";
  pod->spec.namespace_name = "default";
  auto container = std::make_shared<container::ContainerRecord>();
  container->id = ContainerId::Mint();
  container->cgroup = "/kubepods/pod1/c";
  container->started_at = 1'700'000'001'999'999'999;
  container->spec.name = "main";
  container->spec.image.image = "sha256:1";
  container->spec.image.user_specified_image = "busybox:1";
  engine::PodNumbers numbers;
  numbers.record = pod;
  numbers.timestamp = 1'700'000'009'000'000'000;
  numbers.cgroup = FullDetail();
  numbers.processes = 2;
  numbers.network = engine::NetworkUse{7, {{"eth0", 1, 2, 3, 4, 5, 6, 7, 8}}};
  engine::ContainerNumbers one;
  one.record = container;
  one.timestamp = 1'700'000'009'000'000'000;
  one.cgroup = FullDetail();
  one.processes = 1;
  one.descriptors = 4;
  one.sockets = 1;
  one.open_files_limit = 1024;
  one.writable = engine::WritableLayer{4096, 2, 1};
  numbers.containers.push_back(one);
  return numbers;
}

const Filesystem kFilesystem = {"/dev/vda1", 1000, 100, 50};

TEST(PodMetricsTest, EveryMetricHasADescriptorWithItsLabels) {
  std::map<std::string, int> labels;
  for (const v1::MetricDescriptor& descriptor : MetricDescriptors()) {
    EXPECT_TRUE(labels.emplace(descriptor.name(), descriptor.label_keys_size()).second) << descriptor.name();
    EXPECT_FALSE(descriptor.help().empty());
    std::set<std::string> keys(descriptor.label_keys().begin(), descriptor.label_keys().end());
    EXPECT_EQ(static_cast<int>(keys.size()), descriptor.label_keys_size())
        << "a key comes twice: " << descriptor.name();
  }
  v1::PodSandboxMetrics all = ToPodSandboxMetrics(FullPod(), kFilesystem);
  ASSERT_EQ(all.container_metrics_size(), 1);
  std::set<std::string> seen;
  auto check = [&](const auto& metrics) {
    std::set<std::string> series;
    for (const v1::Metric& metric : metrics) {
      ASSERT_TRUE(labels.count(metric.name()) == 1) << metric.name();
      EXPECT_EQ(metric.label_values_size(), labels[metric.name()]) << metric.name();
      EXPECT_TRUE(metric.has_value());
      EXPECT_GT(metric.timestamp(), 0);
      seen.insert(metric.name());
      std::string key = metric.name();
      for (const std::string& value : metric.label_values()) key += "|" + value;
      EXPECT_TRUE(series.insert(key).second) << "twice: " << key;
    }
  };
  check(all.metrics());
  check(all.container_metrics(0).metrics());
  for (const auto& [name, count] : labels) EXPECT_TRUE(seen.count(name) == 1) << name << " is described, never given";
}

template <class Metrics>
const v1::Metric* Find(const Metrics& metrics, const std::string& name) {
  for (const v1::Metric& metric : metrics) {
    if (metric.name() == name) return &metric;
  }
  return nullptr;
}

TEST(PodMetricsTest, UnitsAndLabelsAreThoseOfTheNames) {
  v1::PodSandboxMetrics all = ToPodSandboxMetrics(FullPod(), kFilesystem);
  const auto& metrics = all.container_metrics(0).metrics();
  const v1::Metric* cpu = Find(metrics, "container_cpu_usage_seconds_total");
  ASSERT_NE(cpu, nullptr);
  EXPECT_EQ(cpu->value().value(), 3U);
  EXPECT_EQ(cpu->metric_type(), v1::COUNTER);
  EXPECT_EQ(cpu->label_values(0), "main");
  EXPECT_EQ(cpu->label_values(1), "/kubepods/pod1/c");
  EXPECT_EQ(cpu->label_values(2), "busybox:1");
  EXPECT_EQ(cpu->label_values(4), "default");
  EXPECT_EQ(cpu->label_values(5), "web");
  EXPECT_EQ(cpu->label_values(6), "total");
  EXPECT_EQ(Find(metrics, "container_pressure_io_stalled_seconds_total")->value().value(), 2U);
  EXPECT_EQ(Find(metrics, "container_start_time_seconds")->value().value(), 1'700'000'001U);
  EXPECT_EQ(Find(metrics, "container_network_receive_bytes_total"), nullptr);  // the network is the pod's
  const v1::Metric* sent = Find(all.metrics(), "container_network_transmit_bytes_total");
  ASSERT_NE(sent, nullptr);
  EXPECT_EQ(sent->value().value(), 5U);
  EXPECT_EQ(sent->label_values(0), "");
  EXPECT_EQ(sent->label_values(6), "eth0");
}

TEST(PodMetricsTest, WhatNobodyKnowsIsNotGiven) {
  engine::PodNumbers numbers = FullPod();
  numbers.cgroup.reset();
  numbers.network.reset();
  numbers.containers[0].cgroup = {};
  numbers.containers[0].descriptors.reset();
  numbers.containers[0].writable.reset();
  v1::PodSandboxMetrics all = ToPodSandboxMetrics(numbers, {});
  EXPECT_EQ(Find(all.metrics(), "container_cpu_usage_seconds_total"), nullptr);
  EXPECT_NE(Find(all.metrics(), "container_processes"), nullptr);
  const auto& metrics = all.container_metrics(0).metrics();
  for (const char* name :
       {"container_cpu_usage_seconds_total", "container_memory_usage_bytes", "container_fs_usage_bytes",
        "container_fs_limit_bytes", "container_file_descriptors", "container_pressure_cpu_waiting_seconds_total"}) {
    EXPECT_EQ(Find(metrics, name), nullptr) << name;
  }
}

}  // namespace
}  // namespace davit::cri
