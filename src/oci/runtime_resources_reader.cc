#include <algorithm>

#include "oci/runtime_resources.h"
#include "oci/runtime_spec_fields.h"
#include "oci/runtime_spec_reader.h"

namespace davit::oci {
namespace {

// A number that engines write as -1 for "any" (runc's old wildcard).
void ReadDeviceNumber(SpecFields& fields, const JsonNode& at, std::optional<int64_t>& out) {
  fields.Read(at, out);
  if (out == -1) out.reset();
}

void ReadDeviceRule(SpecFields& fields, const JsonNode& at, DeviceRule& out) {
  fields.Read(at.Key("allow"), out.allow);
  std::string type = "a";
  fields.Read(at.Key("type"), type);
  if (fields.ok() && type.size() > 1) return fields.Add(OneOf(at.path() + ".type", type, {"a", "b", "c"}));
  if (!type.empty()) out.type = type[0];
  ReadDeviceNumber(fields, at.Key("major"), out.major);
  ReadDeviceNumber(fields, at.Key("minor"), out.minor);
  std::string access;
  fields.Read(at.Key("access"), access);
  if (!access.empty()) out.access = access;
}

void ReadMemory(SpecFields& fields, const JsonNode& at, MemoryLimits& out) {
  fields.Read(at.Key("limit"), out.limit);
  fields.Read(at.Key("reservation"), out.reservation);
  fields.Read(at.Key("swap"), out.swap);
  fields.Read(at.Key("kernel"), out.kernel);
  fields.Read(at.Key("kernelTCP"), out.kernel_tcp);
  fields.Read(at.Key("swappiness"), out.swappiness);
  fields.Read(at.Key("disableOOMKiller"), out.disable_oom_killer);
  fields.Read(at.Key("useHierarchy"), out.use_hierarchy);
  fields.Read(at.Key("checkBeforeUpdate"), out.check_before_update);
}

void ReadCpu(SpecFields& fields, const JsonNode& at, CpuLimits& out) {
  fields.Read(at.Key("shares"), out.shares);
  fields.Read(at.Key("quota"), out.quota);
  fields.Read(at.Key("burst"), out.burst);
  fields.Read(at.Key("period"), out.period);
  fields.Read(at.Key("realtimeRuntime"), out.realtime_runtime);
  fields.Read(at.Key("realtimePeriod"), out.realtime_period);
  fields.Read(at.Key("cpus"), out.cpus);
  fields.Read(at.Key("mems"), out.mems);
  fields.Read(at.Key("idle"), out.idle);
}

void ReadThrottle(SpecFields& fields, const JsonNode& at, std::vector<ThrottleDevice>& out) {
  fields.Each(at, out, [&](const JsonNode& node, ThrottleDevice& device) {
    fields.Need(node.Key("major"), device.major);
    fields.Need(node.Key("minor"), device.minor);
    fields.Read(node.Key("rate"), device.rate);
  });
}

void ReadBlockIo(SpecFields& fields, const JsonNode& at, BlockIo& out) {
  fields.Read(at.Key("weight"), out.weight);
  fields.Read(at.Key("leafWeight"), out.leaf_weight);
  fields.Each(at.Key("weightDevice"), out.weight_devices, [&](const JsonNode& node, WeightDevice& device) {
    fields.Need(node.Key("major"), device.major);
    fields.Need(node.Key("minor"), device.minor);
    fields.Read(node.Key("weight"), device.weight);
    fields.Read(node.Key("leafWeight"), device.leaf_weight);
  });
  ReadThrottle(fields, at.Key("throttleReadBpsDevice"), out.throttle_read_bps);
  ReadThrottle(fields, at.Key("throttleWriteBpsDevice"), out.throttle_write_bps);
  ReadThrottle(fields, at.Key("throttleReadIOPSDevice"), out.throttle_read_iops);
  ReadThrottle(fields, at.Key("throttleWriteIOPSDevice"), out.throttle_write_iops);
}

void ReadRdma(SpecFields& fields, const JsonNode& at, std::map<std::string, RdmaLimit>& out) {
  if (!fields.Present(at)) return;
  auto members = at.Members();
  if (!members.ok()) return fields.Add(members.status());
  for (const auto& [device, node] : *members) {
    RdmaLimit& limit = out[device];
    fields.Read(node.Key("hcaHandles"), limit.hca_handles);
    fields.Read(node.Key("hcaObjects"), limit.hca_objects);
  }
}

// A name that becomes part of a line that is written to a cgroup's file.
bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 255 &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
}

// "2MB", "1GB", "64KB".
bool IsPageSize(std::string_view text) {
  size_t digits = text.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos || digits > 6 || text[0] == '0') return false;
  std::string_view unit = text.substr(digits);
  return unit == "KB" || unit == "MB" || unit == "GB";
}

Status CheckDeviceRules(const std::vector<DeviceRule>& rules, const std::string& at) {
  for (size_t i = 0; i < rules.size(); ++i) {
    std::string here = Indexed(at, i);
    RETURN_IF_ERROR(OneOf(here + ".type", std::string_view(&rules[i].type, 1), {"a", "b", "c"}));
    if (rules[i].access.find_first_not_of("rwm") != std::string::npos) {
      return FieldError(here + ".access", fmt::format("\"{}\" is not of r, w and m", Printable(rules[i].access)));
    }
    for (const std::optional<int64_t>& number : {rules[i].major, rules[i].minor}) {
      if (number && (*number < 0 || *number > UINT32_MAX)) return FieldError(here, "a device number is out of range");
    }
  }
  return {};
}

Status CheckBlockIo(const BlockIo& io, const std::string& at) {
  auto weight_ok = [](const std::optional<uint16_t>& weight) {
    return !weight || *weight == 0 || (*weight >= 10 && *weight <= 1000);
  };
  if (!weight_ok(io.weight)) return FieldError(at + ".weight", "expected 10 to 1000");
  if (!weight_ok(io.leaf_weight)) return FieldError(at + ".leafWeight", "expected 10 to 1000");
  for (size_t i = 0; i < io.weight_devices.size(); ++i) {
    const WeightDevice& device = io.weight_devices[i];
    if (!weight_ok(device.weight) || !weight_ok(device.leaf_weight)) {
      return FieldError(Indexed(at + ".weightDevice", i), "expected weights of 10 to 1000");
    }
  }
  return {};
}

Status CheckCpu(const CpuLimits& cpu, const std::string& at) {
  RETURN_IF_ERROR(CheckCpuList(at + ".cpus", cpu.cpus));
  RETURN_IF_ERROR(CheckCpuList(at + ".mems", cpu.mems));
  if (cpu.idle && *cpu.idle != 0 && *cpu.idle != 1) return FieldError(at + ".idle", "expected 0 or 1");
  return {};
}

Status CheckNames(const Resources& resources, const std::string& at) {
  for (size_t i = 0; i < resources.hugepage_limits.size(); ++i) {
    if (!IsPageSize(resources.hugepage_limits[i].page_size)) {
      return FieldError(
          Indexed(at + ".hugepageLimits", i) + ".pageSize",
          fmt::format("\"{}\": expected a size such as 2MB", Printable(resources.hugepage_limits[i].page_size)));
    }
  }
  for (const auto& [device, limit] : resources.rdma) {
    if (!IsPlainName(device)) return FieldError(at + ".rdma", "\"" + Printable(device) + "\" is no device's name");
  }
  for (size_t i = 0; i < resources.network.priorities.size(); ++i) {
    if (!IsPlainName(resources.network.priorities[i].first)) {
      return FieldError(Indexed(at + ".network.priorities", i) + ".name", "is no interface's name");
    }
  }
  for (const auto& [file, value] : resources.unified) {
    // A file of the cgroup itself: a slash would lead elsewhere.
    if (!IsPathComponent(file) || file.find('.') == std::string::npos) {
      return FieldError(at + ".unified", fmt::format("\"{}\" is no file of a cgroup", Printable(file)));
    }
  }
  return {};
}

}  // namespace

void ReadResources(SpecFields& fields, const JsonNode& at, Resources& out) {
  fields.Each(at.Key("devices"), out.devices,
              [&](const JsonNode& node, DeviceRule& rule) { ReadDeviceRule(fields, node, rule); });
  ReadMemory(fields, at.Key("memory"), out.memory);
  ReadCpu(fields, at.Key("cpu"), out.cpu);
  fields.Read(at.Key("pids").Key("limit"), out.pids_limit);
  ReadBlockIo(fields, at.Key("blockIO"), out.block_io);
  fields.Each(at.Key("hugepageLimits"), out.hugepage_limits, [&](const JsonNode& node, HugepageLimit& limit) {
    fields.Need(node.Key("pageSize"), limit.page_size);
    fields.Need(node.Key("limit"), limit.limit);
  });
  JsonNode network = at.Key("network");
  fields.Read(network.Key("classID"), out.network.class_id);
  fields.Each(network.Key("priorities"), out.network.priorities,
              [&](const JsonNode& node, std::pair<std::string, uint32_t>& priority) {
                fields.Need(node.Key("name"), priority.first);
                fields.Need(node.Key("priority"), priority.second);
              });
  ReadRdma(fields, at.Key("rdma"), out.rdma);
  fields.Read(at.Key("unified"), out.unified);
}

Status ValidateResources(const Resources& resources, std::string_view at_view) {
  std::string at(at_view);
  RETURN_IF_ERROR(CheckDeviceRules(resources.devices, at + ".devices"));
  if (resources.memory.swappiness.value_or(0) > 200) return FieldError(at + ".memory.swappiness", "expected 0 to 200");
  RETURN_IF_ERROR(CheckCpu(resources.cpu, at + ".cpu"));
  RETURN_IF_ERROR(CheckBlockIo(resources.block_io, at + ".blockIO"));
  return CheckNames(resources, at);
}

}  // namespace davit::oci
