#include "cri/convert_stats.h"

#include <algorithm>

#include "cri/convert.h"

namespace davit::cri {
namespace {

constexpr std::string_view kDefaultInterface = "eth0";  // CNI's name for what the cluster's network gives a pod

template <class Map>
void Fill(Map* out, const std::map<std::string, std::string>& in) {
  for (const auto& [key, value] : in) (*out)[key] = value;
}

// `mutable_field` is called only for a value: an empty wrapper would read as zero.
template <class Message>
void Set(Message* message, v1::UInt64Value* (Message::*mutable_field)(), const std::optional<uint64_t>& value) {
  if (value) (message->*mutable_field)()->set_value(*value);
}

void FillPsi(v1::PsiData* out, const sys::PressureLine& line) {
  out->set_total(line.total_micros * 1000);  // CRI counts nanoseconds
  out->set_avg10(line.avg10);
  out->set_avg60(line.avg60);
  out->set_avg300(line.avg300);
}

template <class Message>
void FillPsi(Message* message, const std::optional<sys::Pressure>& pressure) {
  if (!pressure) return;
  if (pressure->full) FillPsi(message->mutable_psi()->mutable_full(), *pressure->full);
  if (pressure->some) FillPsi(message->mutable_psi()->mutable_some(), *pressure->some);
}

v1::CpuUsage ToCpu(int64_t timestamp, const sys::CgroupStats& stats, const std::optional<uint64_t>& nano_cores) {
  v1::CpuUsage cpu;
  cpu.set_timestamp(timestamp);
  Set(&cpu, &v1::CpuUsage::mutable_usage_core_nano_seconds, stats.cpu_usage_nanos);
  Set(&cpu, &v1::CpuUsage::mutable_usage_nano_cores, nano_cores);
  FillPsi(&cpu, stats.cpu_pressure);
  return cpu;
}

v1::MemoryUsage ToMemory(int64_t timestamp, const sys::CgroupStats& stats) {
  v1::MemoryUsage memory;
  memory.set_timestamp(timestamp);
  Set(&memory, &v1::MemoryUsage::mutable_working_set_bytes, stats.memory_working_set_bytes);
  Set(&memory, &v1::MemoryUsage::mutable_usage_bytes, stats.memory_usage_bytes);
  Set(&memory, &v1::MemoryUsage::mutable_rss_bytes, stats.memory_rss_bytes);
  Set(&memory, &v1::MemoryUsage::mutable_page_faults, stats.page_faults);
  Set(&memory, &v1::MemoryUsage::mutable_major_page_faults, stats.major_page_faults);
  if (stats.memory_limit_bytes && stats.memory_working_set_bytes) {
    memory.mutable_available_bytes()->set_value(*stats.memory_limit_bytes -
                                                std::min(*stats.memory_limit_bytes, *stats.memory_working_set_bytes));
  }
  FillPsi(&memory, stats.memory_pressure);
  return memory;
}

v1::SwapUsage ToSwap(int64_t timestamp, const sys::CgroupStats& stats) {
  v1::SwapUsage swap;
  swap.set_timestamp(timestamp);
  Set(&swap, &v1::SwapUsage::mutable_swap_usage_bytes, stats.swap_usage_bytes);
  if (stats.swap_limit_bytes && stats.swap_usage_bytes) {
    swap.mutable_swap_available_bytes()->set_value(*stats.swap_limit_bytes -
                                                   std::min(*stats.swap_limit_bytes, *stats.swap_usage_bytes));
  }
  return swap;
}

v1::IoUsage ToIo(int64_t timestamp, const sys::CgroupStats& stats) {
  v1::IoUsage io;
  io.set_timestamp(timestamp);
  FillPsi(&io, stats.io_pressure);
  return io;
}

v1::NetworkInterfaceUsage ToInterface(const sys::InterfaceUse& use) {
  v1::NetworkInterfaceUsage out;
  out.set_name(use.name);
  out.mutable_rx_bytes()->set_value(use.rx_bytes);
  out.mutable_rx_errors()->set_value(use.rx_errors);
  out.mutable_tx_bytes()->set_value(use.tx_bytes);
  out.mutable_tx_errors()->set_value(use.tx_errors);
  return out;
}

v1::NetworkUsage ToNetwork(const engine::NetworkUse& use) {
  v1::NetworkUsage network;
  network.set_timestamp(use.timestamp);
  for (const sys::InterfaceUse& one : use.interfaces) {
    // The default one too, against the comment in the CRI: the kubelet hands the list on as that of all interfaces
    // in its summary API, whose node conformance spec wants it there for a pod with eth0 alone.
    *network.add_interfaces() = ToInterface(one);
    if (one.name == kDefaultInterface) *network.mutable_default_interface() = ToInterface(one);
  }
  return network;
}

}  // namespace

v1::ContainerStats ToContainerStats(const engine::ContainerStats& stats, const std::string& mount_point) {
  v1::ContainerStats out;
  const container::ContainerRecord& record = *stats.record;
  auto* attributes = out.mutable_attributes();
  attributes->set_id(record.id.str());
  attributes->mutable_metadata()->set_name(record.spec.name);
  attributes->mutable_metadata()->set_attempt(record.spec.attempt);
  Fill(attributes->mutable_labels(), record.spec.labels);
  Fill(attributes->mutable_annotations(), record.spec.annotations);

  // The kubelet wants the times even of a container that has no numbers any more.
  const sys::CgroupStats none;
  const sys::CgroupStats& cgroup = stats.cgroup ? *stats.cgroup : none;
  *out.mutable_cpu() = ToCpu(stats.timestamp, cgroup, stats.cpu_nano_cores);
  *out.mutable_memory() = ToMemory(stats.timestamp, cgroup);
  if (cgroup.swap_usage_bytes) *out.mutable_swap() = ToSwap(stats.timestamp, cgroup);
  if (cgroup.io_pressure) *out.mutable_io() = ToIo(stats.timestamp, cgroup);
  if (stats.writable) {
    auto* layer = out.mutable_writable_layer();
    layer->set_timestamp(stats.writable->measured_at);
    layer->mutable_fs_id()->set_mountpoint(mount_point);
    layer->mutable_used_bytes()->set_value(stats.writable->bytes);
    layer->mutable_inodes_used()->set_value(stats.writable->inodes);
  }
  return out;
}

v1::PodSandboxStats ToPodSandboxStats(const engine::PodStats& stats, const std::string& mount_point) {
  v1::PodSandboxStats out;
  const pod::PodRecord& record = *stats.record;
  auto* attributes = out.mutable_attributes();
  attributes->set_id(record.id.str());
  attributes->mutable_metadata()->set_name(record.spec.name);
  attributes->mutable_metadata()->set_uid(record.spec.uid);
  attributes->mutable_metadata()->set_namespace_(record.spec.namespace_name);
  attributes->mutable_metadata()->set_attempt(record.spec.attempt);
  Fill(attributes->mutable_labels(), record.spec.labels);
  Fill(attributes->mutable_annotations(), record.spec.annotations);

  auto* linux_stats = out.mutable_linux();
  if (stats.cgroup) {
    *linux_stats->mutable_cpu() = ToCpu(stats.timestamp, *stats.cgroup, stats.cpu_nano_cores);
    *linux_stats->mutable_memory() = ToMemory(stats.timestamp, *stats.cgroup);
    if (stats.cgroup->io_pressure) *linux_stats->mutable_io() = ToIo(stats.timestamp, *stats.cgroup);
  }
  if (stats.network) *linux_stats->mutable_network() = ToNetwork(*stats.network);
  if (stats.processes) {
    linux_stats->mutable_process()->set_timestamp(stats.timestamp);
    linux_stats->mutable_process()->mutable_process_count()->set_value(*stats.processes);
  }
  for (const engine::ContainerStats& one : stats.containers) {
    *linux_stats->add_containers() = ToContainerStats(one, mount_point);
  }
  return out;
}

bool Matches(const v1::ContainerStatsFilter& filter, const container::ContainerRecord& record) {
  return record.id.str().starts_with(filter.id()) && record.pod.str().starts_with(filter.pod_sandbox_id()) &&
         HasLabels(filter.label_selector(), record.spec.labels);
}

bool Matches(const v1::PodSandboxStatsFilter& filter, const pod::PodRecord& record) {
  return record.id.str().starts_with(filter.id()) && HasLabels(filter.label_selector(), record.spec.labels);
}

}  // namespace davit::cri
