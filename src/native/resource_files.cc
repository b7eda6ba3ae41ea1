#include "native/resource_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/strings.h"
#include "native/device_filter.h"
#include "sys/unique_fd.h"

namespace davit::native {
namespace {

// Values of one controller, each to the file that the version at hand has for it.
class Writer {
 public:
  Writer(const sys::CgroupLayout& layout, const std::string& cgroup) : layout_(layout), cgroup_(cgroup) {}

  [[nodiscard]] bool V1(const std::string& controller) const { return layout_.V1MountPoint(controller).has_value(); }

  // `v1` or `v2` empty: that version has no such limit.
  Status Write(const std::string& controller, std::string_view member, std::string_view v1, std::string_view v2,
               const std::string& value) const {
    const std::string at = fmt::format("linux.resources.{}", member);
    std::optional<std::string> directory = layout_.Directory(controller, cgroup_);
    if (!directory) return FailedPrecondition(fmt::format("{}: this node has no {} controller", at, controller));
    std::string_view file = V1(controller) ? v1 : v2;
    if (file.empty()) {
      return Unimplemented(fmt::format("{}: cgroup version {} has no such limit", at, V1(controller) ? "1" : "2"));
    }
    return sys::WriteValue(*directory + "/" + std::string(file), value).Annotate(at);
  }
  [[nodiscard]] bool Has(const std::string& controller, const std::string& file) const {
    std::optional<std::string> directory = layout_.Directory(controller, cgroup_);
    return directory && ::access((*directory + "/" + file).c_str(), F_OK) == 0;
  }

 private:
  const sys::CgroupLayout& layout_;
  const std::string& cgroup_;
};

std::string LimitText(int64_t value) { return value < 0 ? "max" : std::to_string(value); }

Status WriteMemory(const Writer& writer, const oci::MemoryLimits& memory) {
  if (memory.reservation.value_or(0) != 0) {
    // Version 1 counts -1 as no limit; in version 2 nothing is protected by 0.
    std::string value = writer.V1("memory") ? std::to_string(*memory.reservation)
                                            : std::to_string(std::max<int64_t>(*memory.reservation, 0));
    RETURN_IF_ERROR(writer.Write("memory", "memory.reservation", "memory.soft_limit_in_bytes", "memory.low", value));
  }
  if (memory.kernel_tcp.value_or(0) != 0) {
    RETURN_IF_ERROR(writer.Write("memory", "memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", "",
                                 std::to_string(*memory.kernel_tcp)));
  }
  if (memory.swappiness) {
    RETURN_IF_ERROR(
        writer.Write("memory", "memory.swappiness", "memory.swappiness", "", std::to_string(*memory.swappiness)));
  }
  if (memory.disable_oom_killer.value_or(false)) {
    RETURN_IF_ERROR(writer.Write("memory", "memory.disableOOMKiller", "memory.oom_control", "", "1"));
  }
  // memory.kernel: without effect since 5.16, and useHierarchy always so since 5.11.
  return {};
}

Status WriteCpu(const Writer& writer, const oci::CpuLimits& cpu) {
  if (cpu.idle) RETURN_IF_ERROR(writer.Write("cpu", "cpu.idle", "cpu.idle", "cpu.idle", std::to_string(*cpu.idle)));
  if (cpu.burst) {
    RETURN_IF_ERROR(writer.Write("cpu", "cpu.burst", "cpu.cfs_burst_us", "cpu.max.burst", std::to_string(*cpu.burst)));
  }
  if (cpu.realtime_period.value_or(0) != 0) {
    RETURN_IF_ERROR(
        writer.Write("cpu", "cpu.realtimePeriod", "cpu.rt_period_us", "", std::to_string(*cpu.realtime_period)));
  }
  if (cpu.realtime_runtime.value_or(0) != 0) {
    RETURN_IF_ERROR(
        writer.Write("cpu", "cpu.realtimeRuntime", "cpu.rt_runtime_us", "", std::to_string(*cpu.realtime_runtime)));
  }
  return {};
}

// blkio's 10..1000 onto io.weight's 1..10000, as the OCI runtimes convert.
uint64_t IoWeight(uint16_t weight) { return 1 + (uint64_t{weight} - 10) * 9999 / 990; }

Status WriteWeights(const Writer& writer, const oci::BlockIo& io) {
  const bool v1 = writer.V1("blkio");
  const std::string controller = v1 ? "blkio" : "io";
  // The weight belongs to the BFQ scheduler; io.weight to the cost model, with another scale.
  const bool bfq = writer.Has(controller, v1 ? "blkio.bfq.weight" : "io.bfq.weight");
  const std::string file = v1 ? (bfq ? "blkio.bfq.weight" : "blkio.weight") : (bfq ? "io.bfq.weight" : "io.weight");
  auto text = [&](uint16_t weight) { return std::to_string(v1 || bfq ? weight : IoWeight(weight)); };
  if (io.weight.value_or(0) != 0) {
    RETURN_IF_ERROR(writer.Write(controller, "blockIO.weight", file, file, text(*io.weight)));
  }
  if (io.leaf_weight.value_or(0) != 0) {
    RETURN_IF_ERROR(
        writer.Write(controller, "blockIO.leafWeight", "blkio.leaf_weight", "", std::to_string(*io.leaf_weight)));
  }
  const std::string device_file = v1 && !bfq ? "blkio.weight_device" : (v1 ? "blkio.bfq.weight_device" : file);
  for (const oci::WeightDevice& device : io.weight_devices) {
    std::string number = fmt::format("{}:{} ", device.major, device.minor);
    if (device.weight.value_or(0) != 0) {
      RETURN_IF_ERROR(
          writer.Write(controller, "blockIO.weightDevice", device_file, device_file, number + text(*device.weight)));
    }
    if (device.leaf_weight.value_or(0) != 0) {
      RETURN_IF_ERROR(writer.Write(controller, "blockIO.weightDevice.leafWeight", "blkio.leaf_weight_device", "",
                                   number + std::to_string(*device.leaf_weight)));
    }
  }
  return {};
}

Status WriteThrottle(const Writer& writer, const std::vector<oci::ThrottleDevice>& devices, std::string_view member,
                     std::string_view v1, std::string_view v2) {
  const bool first = writer.V1("blkio");
  for (const oci::ThrottleDevice& device : devices) {
    std::string number = fmt::format("{}:{} ", device.major, device.minor);
    std::string value = first ? std::to_string(device.rate)
                              : fmt::format("{}={}", v2, device.rate == 0 ? "max" : std::to_string(device.rate));
    RETURN_IF_ERROR(writer.Write(first ? "blkio" : "io", member, v1, "io.max", number + value));
  }
  return {};
}

Status WriteBlockIo(const Writer& writer, const oci::BlockIo& io) {
  if (io.empty()) return {};
  RETURN_IF_ERROR(WriteWeights(writer, io));
  RETURN_IF_ERROR(WriteThrottle(writer, io.throttle_read_bps, "blockIO.throttleReadBpsDevice",
                                "blkio.throttle.read_bps_device", "rbps"));
  RETURN_IF_ERROR(WriteThrottle(writer, io.throttle_write_bps, "blockIO.throttleWriteBpsDevice",
                                "blkio.throttle.write_bps_device", "wbps"));
  RETURN_IF_ERROR(WriteThrottle(writer, io.throttle_read_iops, "blockIO.throttleReadIOPSDevice",
                                "blkio.throttle.read_iops_device", "riops"));
  return WriteThrottle(writer, io.throttle_write_iops, "blockIO.throttleWriteIOPSDevice",
                       "blkio.throttle.write_iops_device", "wiops");
}

Status WriteNetwork(const Writer& writer, const oci::NetworkLimits& network) {
  // Version 2 leaves both to programs of the network, so that there is no such controller.
  if (network.class_id.value_or(0) != 0) {
    RETURN_IF_ERROR(
        writer.Write("net_cls", "network.classID", "net_cls.classid", "", std::to_string(*network.class_id)));
  }
  for (const auto& [interface, priority] : network.priorities) {
    RETURN_IF_ERROR(writer.Write("net_prio", "network.priorities", "net_prio.ifpriomap", "",
                                 fmt::format("{} {}", interface, priority)));
  }
  return {};
}

Status WriteRdma(const Writer& writer, const std::map<std::string, oci::RdmaLimit>& limits) {
  for (const auto& [device, limit] : limits) {
    std::string line = device;
    if (limit.hca_handles) line += fmt::format(" hca_handle={}", *limit.hca_handles);
    if (limit.hca_objects) line += fmt::format(" hca_object={}", *limit.hca_objects);
    RETURN_IF_ERROR(writer.Write("rdma", "rdma." + device, "rdma.max", "rdma.max", line));
  }
  return {};
}

}  // namespace

sys::CgroupLimits CommonLimits(const oci::Resources& resources) {
  constexpr int64_t kLeastShares = 2;
  constexpr int64_t kMostShares = 262144;
  sys::CgroupLimits limits;
  const oci::MemoryLimits& memory = resources.memory;
  if (memory.limit.value_or(0) != 0) limits.memory_bytes = memory.limit;
  if (memory.swap.value_or(0) != 0) limits.memory_swap_bytes = memory.swap;
  const oci::CpuLimits& cpu = resources.cpu;
  if (cpu.shares.value_or(0) != 0) {
    // As the kernel does with a value outside, which could not be compared afterwards.
    uint64_t shares = std::min<uint64_t>(*cpu.shares, kMostShares);
    limits.cpu_shares = std::max<int64_t>(static_cast<int64_t>(shares), kLeastShares);
  }
  if (cpu.quota.value_or(0) != 0) limits.cpu_quota = std::max<int64_t>(*cpu.quota, -1);
  if (cpu.period.value_or(0) != 0) limits.cpu_period = static_cast<int64_t>(*cpu.period);
  limits.cpuset_cpus = cpu.cpus;
  limits.cpuset_mems = cpu.mems;
  for (const oci::HugepageLimit& limit : resources.hugepage_limits) limits.hugepages[limit.page_size] = limit.limit;
  limits.unified = resources.unified;
  return limits;
}

Status WriteOtherLimits(const sys::CgroupLayout& layout, const std::string& cgroup, const oci::Resources& resources) {
  Writer writer(layout, cgroup);
  RETURN_IF_ERROR(WriteMemory(writer, resources.memory));
  RETURN_IF_ERROR(WriteCpu(writer, resources.cpu));
  if (resources.pids_limit.value_or(0) != 0) {
    RETURN_IF_ERROR(writer.Write("pids", "pids.limit", "pids.max", "pids.max", LimitText(*resources.pids_limit)));
  }
  RETURN_IF_ERROR(WriteBlockIo(writer, resources.block_io));
  RETURN_IF_ERROR(WriteNetwork(writer, resources.network));
  return WriteRdma(writer, resources.rdma);
}

Status WriteDeviceRules(const sys::CgroupLayout& layout, const std::string& cgroup,
                        const std::vector<oci::DeviceRule>& rules) {
  std::vector<oci::DeviceRule> effective = EffectiveDeviceRules(rules);
  if (std::optional<std::string> v1 = layout.V1MountPoint("devices")) {
    return WriteDeviceLists(*v1 + cgroup, effective).Annotate("linux.resources.devices");
  }
  if (layout.unified_mount_point().empty()) return {};
  return AttachDeviceProgram(layout.unified_mount_point() + cgroup, CompileDeviceRules(effective))
      .Annotate("linux.resources.devices");
}

}  // namespace davit::native
