#include "oci/runtime_resources.h"

#include "oci/json_writer.h"

namespace davit::oci {
namespace {

void Write(JsonWriter& out, const std::vector<DeviceRule>& rules) {
  if (rules.empty()) return;
  out.Key("devices").BeginArray();
  for (const DeviceRule& rule : rules) {
    out.BeginObject().Field("allow", rule.allow).Field("type", std::string_view(&rule.type, 1));
    out.Optional("major", rule.major).Optional("minor", rule.minor).Field("access", rule.access).EndObject();
  }
  out.EndArray();
}

void Write(JsonWriter& out, const MemoryLimits& memory) {
  if (!memory.limit && !memory.reservation && !memory.swap && !memory.swappiness && !memory.disable_oom_killer &&
      !memory.kernel && !memory.kernel_tcp && !memory.use_hierarchy && !memory.check_before_update) {
    return;
  }
  out.Key("memory").BeginObject().Optional("limit", memory.limit).Optional("reservation", memory.reservation);
  out.Optional("swap", memory.swap).Optional("swappiness", memory.swappiness);
  out.Optional("disableOOMKiller", memory.disable_oom_killer).Optional("kernel", memory.kernel);
  out.Optional("kernelTCP", memory.kernel_tcp).Optional("useHierarchy", memory.use_hierarchy);
  out.Optional("checkBeforeUpdate", memory.check_before_update).EndObject();
}

void Write(JsonWriter& out, const CpuLimits& cpu) {
  if (!cpu.shares && !cpu.quota && !cpu.period && cpu.cpus.empty() && cpu.mems.empty() && !cpu.burst && !cpu.idle &&
      !cpu.realtime_runtime && !cpu.realtime_period) {
    return;
  }
  out.Key("cpu").BeginObject().Optional("shares", cpu.shares).Optional("quota", cpu.quota);
  out.Optional("period", cpu.period).NonEmpty("cpus", cpu.cpus).NonEmpty("mems", cpu.mems);
  out.Optional("burst", cpu.burst).Optional("realtimeRuntime", cpu.realtime_runtime);
  out.Optional("realtimePeriod", cpu.realtime_period).Optional("idle", cpu.idle).EndObject();
}

void Write(JsonWriter& out, std::string_view key, const std::vector<ThrottleDevice>& devices) {
  if (devices.empty()) return;
  out.Key(key).BeginArray();
  for (const ThrottleDevice& device : devices) {
    out.BeginObject().Field("major", device.major).Field("minor", device.minor);
    out.Field("rate", device.rate).EndObject();
  }
  out.EndArray();
}

void Write(JsonWriter& out, const BlockIo& io) {
  if (io.empty()) return;
  out.Key("blockIO").BeginObject().Optional("weight", io.weight).Optional("leafWeight", io.leaf_weight);
  if (!io.weight_devices.empty()) {
    out.Key("weightDevice").BeginArray();
    for (const WeightDevice& device : io.weight_devices) {
      out.BeginObject().Field("major", device.major).Field("minor", device.minor);
      out.Optional("weight", device.weight).Optional("leafWeight", device.leaf_weight).EndObject();
    }
    out.EndArray();
  }
  Write(out, "throttleReadBpsDevice", io.throttle_read_bps);
  Write(out, "throttleWriteBpsDevice", io.throttle_write_bps);
  Write(out, "throttleReadIOPSDevice", io.throttle_read_iops);
  Write(out, "throttleWriteIOPSDevice", io.throttle_write_iops);
  out.EndObject();
}

void Write(JsonWriter& out, const NetworkLimits& network) {
  if (network.empty()) return;
  out.Key("network").BeginObject().Optional("classID", network.class_id);
  if (!network.priorities.empty()) {
    out.Key("priorities").BeginArray();
    for (const auto& [name, priority] : network.priorities) {
      out.BeginObject().Field("name", name).Field("priority", priority).EndObject();
    }
    out.EndArray();
  }
  out.EndObject();
}

void Write(JsonWriter& out, const Resources& resources) {
  out.BeginObject();
  Write(out, resources.devices);
  Write(out, resources.memory);
  Write(out, resources.cpu);
  if (resources.pids_limit) out.Key("pids").BeginObject().Field("limit", *resources.pids_limit).EndObject();
  Write(out, resources.block_io);
  if (!resources.hugepage_limits.empty()) {
    out.Key("hugepageLimits").BeginArray();
    for (const HugepageLimit& limit : resources.hugepage_limits) {
      out.BeginObject().Field("pageSize", limit.page_size).Field("limit", limit.limit).EndObject();
    }
    out.EndArray();
  }
  Write(out, resources.network);
  if (!resources.rdma.empty()) {
    out.Key("rdma").BeginObject();
    for (const auto& [device, limit] : resources.rdma) {
      out.Key(device).BeginObject().Optional("hcaHandles", limit.hca_handles);
      out.Optional("hcaObjects", limit.hca_objects).EndObject();
    }
    out.EndObject();
  }
  out.NonEmpty("unified", resources.unified).EndObject();
}

}  // namespace

std::string ToJson(const Resources& resources) {
  JsonWriter out;
  Write(out, resources);
  return std::move(out).Take();
}

}  // namespace davit::oci
