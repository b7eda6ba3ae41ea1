#include "cri/pod_metrics.h"

#include <array>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace davit::cri {
namespace {

constexpr std::array<std::string_view, 6> kBaseLabels = {"container", "id", "image", "name", "namespace", "pod"};
constexpr uint64_t kNanos = 1'000'000'000;
constexpr uint64_t kMicros = 1'000'000;

// Whom a series is about: a container, or a pod as a whole.
struct Subject {
  std::array<std::string, kBaseLabels.size()> labels;
  int64_t timestamp = 0;
  const sys::CgroupDetail* cgroup = nullptr;            // may be null
  const engine::ContainerNumbers* container = nullptr;  // one of the two
  const engine::PodNumbers* pod = nullptr;
  const Filesystem* filesystem = nullptr;
};

using Emit = std::function<void(uint64_t value, std::initializer_list<std::string_view> extra_labels)>;
using Number = std::optional<uint64_t>;

struct Row {
  std::string_view name;
  std::string_view help;
  v1::MetricType type;
  std::vector<std::string_view> extra_labels;
  void (*samples)(const Subject& subject, const Emit& emit);
};

void Give(const Emit& emit, const Number& value, uint64_t divisor = 1) {
  if (value) emit(*value / divisor, {});
}

void GivePressure(const Emit& emit, const Subject& subject, std::optional<sys::Pressure> sys::CgroupStats::*resource,
                  std::optional<sys::PressureLine> sys::Pressure::*line) {
  if (subject.cgroup == nullptr) return;
  const std::optional<sys::Pressure>& pressure = subject.cgroup->stats.*resource;
  if (pressure && *pressure.*line) emit((*pressure.*line)->total_micros / kMicros, {});
}

void GiveNetwork(const Emit& emit, const Subject& subject, uint64_t sys::InterfaceUse::*field) {
  if (subject.pod == nullptr || !subject.pod->network) return;
  for (const sys::InterfaceUse& one : subject.pod->network->interfaces) emit(one.*field, {one.name});
}

void GiveIo(const Emit& emit, const Subject& subject, uint64_t sys::BlockDeviceIo::*field) {
  if (subject.cgroup == nullptr) return;
  for (const sys::BlockDeviceIo& one : subject.cgroup->io) emit(one.*field, {one.name});
}

// Of the cgroup's numbers, one each for those that have no more labels.
template <Number sys::CgroupDetail::*kField, uint64_t kDivisor = 1>
void Detail(const Subject& subject, const Emit& emit) {
  if (subject.cgroup != nullptr) Give(emit, subject.cgroup->*kField, kDivisor);
}
template <Number sys::CgroupStats::*kField>
void Stat(const Subject& subject, const Emit& emit) {
  if (subject.cgroup != nullptr) Give(emit, subject.cgroup->stats.*kField);
}
// A limit that is not set is 0, as cAdvisor says it.
template <Number sys::CgroupDetail::*kField>
void DetailLimit(const Subject& subject, const Emit& emit) {
  if (subject.cgroup != nullptr) emit((subject.cgroup->*kField).value_or(0), {});
}
template <Number engine::ContainerNumbers::*kField>
void OfContainer(const Subject& subject, const Emit& emit) {
  if (subject.container != nullptr) Give(emit, subject.container->*kField);
}
template <std::optional<sys::Pressure> sys::CgroupStats::*kResource,
          std::optional<sys::PressureLine> sys::Pressure::*kLine>
void OfPressure(const Subject& subject, const Emit& emit) {
  GivePressure(emit, subject, kResource, kLine);
}
template <uint64_t sys::InterfaceUse::*kField>
void OfNetwork(const Subject& subject, const Emit& emit) {
  GiveNetwork(emit, subject, kField);
}
template <uint64_t sys::BlockDeviceIo::*kField>
void OfIo(const Subject& subject, const Emit& emit) {
  GiveIo(emit, subject, kField);
}
template <uint64_t Filesystem::*kField>
void OfFilesystem(const Subject& subject, const Emit& emit) {
  if (subject.container == nullptr || subject.filesystem->capacity_bytes == 0) return;
  emit(subject.filesystem->*kField, {subject.filesystem->device});
}

void CpuRows(std::vector<Row>& rows) {
  using D = sys::CgroupDetail;
  rows.insert(rows.end(), {{"container_cpu_usage_seconds_total",
                            "CPU time used.",
                            v1::COUNTER,
                            {"cpu"},
                            [](const Subject& subject, const Emit& emit) {
                              if (subject.cgroup == nullptr || !subject.cgroup->stats.cpu_usage_nanos) return;
                              emit(*subject.cgroup->stats.cpu_usage_nanos / kNanos, {"total"});
                            }},
                           {"container_cpu_user_seconds_total",
                            "CPU time used in user mode.",
                            v1::COUNTER,
                            {},
                            Detail<&D::cpu_user_nanos, kNanos>},
                           {"container_cpu_system_seconds_total",
                            "CPU time used in the kernel.",
                            v1::COUNTER,
                            {},
                            Detail<&D::cpu_system_nanos, kNanos>},
                           {"container_cpu_cfs_periods_total",
                            "Enforcement periods of the CPU quota that have passed.",
                            v1::COUNTER,
                            {},
                            Detail<&D::cpu_periods>},
                           {"container_cpu_cfs_throttled_periods_total",
                            "Periods in which the CPU quota was used up.",
                            v1::COUNTER,
                            {},
                            Detail<&D::cpu_throttled_periods>},
                           {"container_cpu_cfs_throttled_seconds_total",
                            "Time for which the CPU quota held tasks back.",
                            v1::COUNTER,
                            {},
                            Detail<&D::cpu_throttled_nanos, kNanos>}});
}

void MemoryRows(std::vector<Row>& rows) {
  using D = sys::CgroupDetail;
  using S = sys::CgroupStats;
  rows.insert(
      rows.end(),
      {{"container_memory_usage_bytes",
        "Memory in use, file cache included.",
        v1::GAUGE,
        {},
        Stat<&S::memory_usage_bytes>},
       {"container_memory_working_set_bytes",
        "Memory in use without inactive file cache.",
        v1::GAUGE,
        {},
        Stat<&S::memory_working_set_bytes>},
       {"container_memory_rss", "Anonymous memory in bytes.", v1::GAUGE, {}, Stat<&S::memory_rss_bytes>},
       {"container_memory_cache", "Page cache in bytes.", v1::GAUGE, {}, Detail<&D::memory_cache_bytes>},
       {"container_memory_mapped_file", "Mapped files in bytes.", v1::GAUGE, {}, Detail<&D::memory_mapped_file_bytes>},
       {"container_memory_kernel_usage", "Kernel memory in bytes.", v1::GAUGE, {}, Detail<&D::memory_kernel_bytes>},
       {"container_memory_swap", "Swap in use in bytes.", v1::GAUGE, {}, Stat<&S::swap_usage_bytes>},
       {"container_memory_max_usage_bytes",
        "The most memory that was in use.",
        v1::GAUGE,
        {},
        Detail<&D::memory_max_usage_bytes>},
       {"container_memory_failcnt",
        "How often the memory limit was met.",
        v1::COUNTER,
        {},
        Detail<&D::memory_limit_hits>},
       {"container_memory_total_active_file_bytes",
        "Active file cache.",
        v1::GAUGE,
        {},
        Detail<&D::memory_active_file_bytes>},
       {"container_memory_total_inactive_file_bytes",
        "Inactive file cache.",
        v1::GAUGE,
        {},
        Detail<&D::memory_inactive_file_bytes>},
       {"container_memory_failures_total",
        "Page faults: pgfault all, pgmajfault those that read a disk.",
        v1::COUNTER,
        {"failure_type", "scope"},
        [](const Subject& subject, const Emit& emit) {
          if (subject.cgroup == nullptr) return;
          const S& stats = subject.cgroup->stats;
          // The counters include the cgroups below, so there is only that scope.
          if (stats.page_faults) emit(*stats.page_faults, {"pgfault", "hierarchy"});
          if (stats.major_page_faults) emit(*stats.major_page_faults, {"pgmajfault", "hierarchy"});
        }},
       {"container_oom_events_total",
        "Processes killed because memory ran out.",
        v1::COUNTER,
        {},
        Detail<&D::oom_kills>},
       {"container_hugetlb_usage_bytes",
        "Huge pages in use.",
        v1::GAUGE,
        {"pagesize"},
        [](const Subject& subject, const Emit& emit) {
          if (subject.cgroup == nullptr) return;
          for (const sys::HugepageUse& use : subject.cgroup->hugepages) emit(use.usage_bytes, {use.page_size});
        }},
       {"container_hugetlb_max_usage_bytes",
        "The most huge pages that were in use.",
        v1::GAUGE,
        {"pagesize"},
        [](const Subject& subject, const Emit& emit) {
          if (subject.cgroup == nullptr) return;
          for (const sys::HugepageUse& use : subject.cgroup->hugepages) {
            if (use.max_usage_bytes) emit(*use.max_usage_bytes, {use.page_size});
          }
        }}});
}

void PressureRows(std::vector<Row>& rows) {
  using S = sys::CgroupStats;
  using P = sys::Pressure;
  rows.insert(rows.end(), {{"container_pressure_cpu_waiting_seconds_total",
                            "Time in which some tasks waited for a CPU.",
                            v1::COUNTER,
                            {},
                            OfPressure<&S::cpu_pressure, &P::some>},
                           {"container_pressure_cpu_stalled_seconds_total",
                            "Time in which all tasks waited for a CPU.",
                            v1::COUNTER,
                            {},
                            OfPressure<&S::cpu_pressure, &P::full>},
                           {"container_pressure_memory_waiting_seconds_total",
                            "Time in which some tasks waited for memory.",
                            v1::COUNTER,
                            {},
                            OfPressure<&S::memory_pressure, &P::some>},
                           {"container_pressure_memory_stalled_seconds_total",
                            "Time in which all tasks waited for memory.",
                            v1::COUNTER,
                            {},
                            OfPressure<&S::memory_pressure, &P::full>},
                           {"container_pressure_io_waiting_seconds_total",
                            "Time in which some tasks waited for IO.",
                            v1::COUNTER,
                            {},
                            OfPressure<&S::io_pressure, &P::some>},
                           {"container_pressure_io_stalled_seconds_total",
                            "Time in which all tasks waited for IO.",
                            v1::COUNTER,
                            {},
                            OfPressure<&S::io_pressure, &P::full>}});
}

void NetworkRows(std::vector<Row>& rows) {
  using I = sys::InterfaceUse;
  rows.insert(
      rows.end(),
      {{"container_network_receive_bytes_total",
        "Bytes received.",
        v1::COUNTER,
        {"interface"},
        OfNetwork<&I::rx_bytes>},
       {"container_network_receive_packets_total",
        "Packets received.",
        v1::COUNTER,
        {"interface"},
        OfNetwork<&I::rx_packets>},
       {"container_network_receive_packets_dropped_total",
        "Packets dropped while receiving.",
        v1::COUNTER,
        {"interface"},
        OfNetwork<&I::rx_dropped>},
       {"container_network_receive_errors_total",
        "Errors while receiving.",
        v1::COUNTER,
        {"interface"},
        OfNetwork<&I::rx_errors>},
       {"container_network_transmit_bytes_total", "Bytes sent.", v1::COUNTER, {"interface"}, OfNetwork<&I::tx_bytes>},
       {"container_network_transmit_packets_total",
        "Packets sent.",
        v1::COUNTER,
        {"interface"},
        OfNetwork<&I::tx_packets>},
       {"container_network_transmit_packets_dropped_total",
        "Packets dropped while sending.",
        v1::COUNTER,
        {"interface"},
        OfNetwork<&I::tx_dropped>},
       {"container_network_transmit_errors_total",
        "Errors while sending.",
        v1::COUNTER,
        {"interface"},
        OfNetwork<&I::tx_errors>}});
}

void DiskRows(std::vector<Row>& rows) {
  using B = sys::BlockDeviceIo;
  rows.insert(
      rows.end(),
      {{"container_fs_usage_bytes",
        "What the container wrote to its own layer; measured in the background.",
        v1::GAUGE,
        {"device"},
        [](const Subject& subject, const Emit& emit) {
          if (subject.container == nullptr || !subject.container->writable) return;
          emit(subject.container->writable->bytes, {subject.filesystem->device});
        }},
       {"container_fs_limit_bytes",
        "Size of the filesystem that holds the container's layer.",
        v1::GAUGE,
        {"device"},
        OfFilesystem<&Filesystem::capacity_bytes>},
       {"container_fs_inodes_total",
        "Inodes of that filesystem.",
        v1::GAUGE,
        {"device"},
        OfFilesystem<&Filesystem::inodes_total>},
       {"container_fs_inodes_free",
        "Free inodes of that filesystem.",
        v1::GAUGE,
        {"device"},
        OfFilesystem<&Filesystem::inodes_free>},
       {"container_fs_reads_bytes_total", "Bytes read from a device.", v1::COUNTER, {"device"}, OfIo<&B::read_bytes>},
       {"container_fs_writes_bytes_total",
        "Bytes written to a device.",
        v1::COUNTER,
        {"device"},
        OfIo<&B::write_bytes>},
       {"container_fs_reads_total", "Reads from a device.", v1::COUNTER, {"device"}, OfIo<&B::reads>},
       {"container_fs_writes_total", "Writes to a device.", v1::COUNTER, {"device"}, OfIo<&B::writes>},
       {"container_blkio_device_usage_total",
        "Bytes read from and written to a device.",
        v1::COUNTER,
        {"device", "major", "minor", "operation"},
        [](const Subject& subject, const Emit& emit) {
          if (subject.cgroup == nullptr) return;
          for (const B& one : subject.cgroup->io) {
            const std::string major = std::to_string(one.major);
            const std::string minor = std::to_string(one.minor);
            emit(one.read_bytes, {one.name, major, minor, "Read"});
            emit(one.write_bytes, {one.name, major, minor, "Write"});
          }
        }}});
}

void ProcessRows(std::vector<Row>& rows) {
  using C = engine::ContainerNumbers;
  rows.insert(rows.end(),
              {{"container_processes",
                "Processes.",
                v1::GAUGE,
                {},
                [](const Subject& subject, const Emit& emit) {
                  Give(emit, subject.container != nullptr ? subject.container->processes : subject.pod->processes);
                }},
               {"container_threads", "Tasks, which are threads.", v1::GAUGE, {}, Stat<&sys::CgroupStats::pids>},
               {"container_threads_max",
                "Tasks that may be; 0 is no limit.",
                v1::GAUGE,
                {},
                DetailLimit<&sys::CgroupDetail::pids_limit>},
               {"container_file_descriptors",
                "Open descriptors of all processes.",
                v1::GAUGE,
                {},
                OfContainer<&C::descriptors>},
               {"container_sockets", "Open sockets of all processes.", v1::GAUGE, {}, OfContainer<&C::sockets>},
               {"container_ulimits_soft",
                "Soft limits of the first process; one that is unlimited is left out.",
                v1::GAUGE,
                {"ulimit"},
                [](const Subject& subject, const Emit& emit) {
                  if (subject.container == nullptr || !subject.container->open_files_limit) return;
                  emit(*subject.container->open_files_limit, {"max_open_files"});
                }}});
}

void SpecRows(std::vector<Row>& rows) {
  using D = sys::CgroupDetail;
  rows.insert(rows.end(), {{"container_spec_cpu_shares",
                            "CPU shares (cgroup version 1; version 2 has a weight instead).",
                            v1::GAUGE,
                            {},
                            Detail<&D::cpu_shares>},
                           {"container_spec_cpu_quota",
                            "CPU quota in microseconds a period; absent without one.",
                            v1::GAUGE,
                            {},
                            Detail<&D::cpu_quota_micros>},
                           {"container_spec_cpu_period",
                            "Period of the CPU quota in microseconds.",
                            v1::GAUGE,
                            {},
                            Detail<&D::cpu_period_micros>},
                           {"container_spec_memory_limit_bytes",
                            "Memory limit; 0 is none.",
                            v1::GAUGE,
                            {},
                            [](const Subject& subject, const Emit& emit) {
                              if (subject.cgroup != nullptr)
                                emit(subject.cgroup->stats.memory_limit_bytes.value_or(0), {});
                            }},
                           {"container_spec_memory_reservation_limit_bytes",
                            "Memory that is kept for it; 0 is none.",
                            v1::GAUGE,
                            {},
                            DetailLimit<&D::memory_reservation_bytes>},
                           {"container_spec_memory_swap_limit_bytes",
                            "Swap limit; 0 is none set.",
                            v1::GAUGE,
                            {},
                            [](const Subject& subject, const Emit& emit) {
                              if (subject.cgroup != nullptr)
                                emit(subject.cgroup->stats.swap_limit_bytes.value_or(0), {});
                            }},
                           {"container_start_time_seconds",
                            "When it started, since the epoch.",
                            v1::GAUGE,
                            {},
                            [](const Subject& subject, const Emit& emit) {
                              int64_t nanos = subject.container != nullptr ? subject.container->record->started_at
                                                                           : subject.pod->record->created_at;
                              if (nanos > 0) emit(static_cast<uint64_t>(nanos) / kNanos, {});
                            }},
                           {"container_last_seen",
                            "When these numbers were read, since the epoch.",
                            v1::GAUGE,
                            {},
                            [](const Subject& subject, const Emit& emit) {
                              emit(static_cast<uint64_t>(subject.timestamp) / kNanos, {});
                            }}});
}

const std::vector<Row>& Rows() {
  static const std::vector<Row> rows = [] {
    std::vector<Row> all;
    CpuRows(all);
    MemoryRows(all);
    PressureRows(all);
    NetworkRows(all);
    DiskRows(all);
    ProcessRows(all);
    SpecRows(all);
    return all;
  }();
  return rows;
}

template <class Message>
void AddMetrics(const Subject& subject, Message* message) {
  for (const Row& row : Rows()) {
    row.samples(subject, [&](uint64_t value, std::initializer_list<std::string_view> extra_labels) {
      v1::Metric* metric = message->add_metrics();
      metric->set_name(row.name.data(), row.name.size());
      metric->set_timestamp(subject.timestamp);
      metric->set_metric_type(row.type);
      for (const std::string& label : subject.labels) metric->add_label_values(label);
      for (std::string_view label : extra_labels) metric->add_label_values(label.data(), label.size());
      metric->mutable_value()->set_value(value);
    });
  }
}

}  // namespace

Filesystem FilesystemOf(engine::Engine& engine) {
  Result<store::FilesystemUsage> usage = engine.ImageFilesystem();
  if (!usage.ok()) return {};
  return {usage->device, usage->capacity_bytes, usage->inodes_total, usage->inodes_free};
}

std::vector<v1::MetricDescriptor> MetricDescriptors() {
  std::vector<v1::MetricDescriptor> descriptors;
  for (const Row& row : Rows()) {
    v1::MetricDescriptor& descriptor = descriptors.emplace_back();
    descriptor.set_name(row.name.data(), row.name.size());
    descriptor.set_help(row.help.data(), row.help.size());
    for (std::string_view key : kBaseLabels) descriptor.add_label_keys(key.data(), key.size());
    for (std::string_view key : row.extra_labels) descriptor.add_label_keys(key.data(), key.size());
  }
  return descriptors;
}

v1::PodSandboxMetrics ToPodSandboxMetrics(const engine::PodNumbers& numbers, const Filesystem& filesystem) {
  const pod::PodRecord& pod = *numbers.record;
  v1::PodSandboxMetrics out;
  out.set_pod_sandbox_id(pod.id.str());
  Subject whole;
  whole.labels = {"", pod.cgroup, "", pod.id.str(), pod.spec.namespace_name, pod.spec.name};
  whole.timestamp = numbers.timestamp;
  whole.cgroup = numbers.cgroup ? &*numbers.cgroup : nullptr;
  whole.pod = &numbers;
  whole.filesystem = &filesystem;
  AddMetrics(whole, &out);
  for (const engine::ContainerNumbers& one : numbers.containers) {
    const container::ContainerRecord& record = *one.record;
    v1::ContainerMetrics* metrics = out.add_container_metrics();
    metrics->set_container_id(record.id.str());
    const container::ImageSpec& image = record.spec.image;
    Subject subject;
    subject.labels = {record.spec.name,
                      record.cgroup,
                      image.user_specified_image.empty() ? image.image : image.user_specified_image,
                      record.id.str(),
                      pod.spec.namespace_name,
                      pod.spec.name};
    subject.timestamp = one.timestamp;
    subject.cgroup = &one.cgroup;
    subject.container = &one;
    subject.filesystem = &filesystem;
    AddMetrics(subject, metrics);
  }
  return out;
}

}  // namespace davit::cri
