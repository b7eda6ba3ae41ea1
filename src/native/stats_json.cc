#include "native/stats_json.h"

#include <initializer_list>
#include <utility>

#include "oci/json_writer.h"

namespace davit::native {
namespace {

using oci::JsonWriter;

void Cpu(JsonWriter& out, const sys::CgroupDetail& detail) {
  out.Key("cpu").BeginObject().Key("usage").BeginObject();
  out.Optional("total", detail.stats.cpu_usage_nanos).Optional("kernel", detail.cpu_system_nanos);
  out.Optional("user", detail.cpu_user_nanos).EndObject();
  out.Key("throttling").BeginObject().Optional("periods", detail.cpu_periods);
  out.Optional("throttledPeriods", detail.cpu_throttled_periods);
  out.Optional("throttledTime", detail.cpu_throttled_nanos).EndObject().EndObject();
}

void Memory(JsonWriter& out, const sys::CgroupDetail& detail) {
  out.Key("memory").BeginObject().Optional("cache", detail.memory_cache_bytes);
  out.Key("usage").BeginObject().Optional("usage", detail.stats.memory_usage_bytes);
  out.Optional("max", detail.memory_max_usage_bytes).Optional("failcnt", detail.memory_limit_hits);
  out.Optional("limit", detail.stats.memory_limit_bytes).EndObject();
  out.Key("swap").BeginObject().Optional("usage", detail.stats.swap_usage_bytes);
  out.Optional("limit", detail.stats.swap_limit_bytes).EndObject();
  out.Key("kernel").BeginObject().Optional("usage", detail.memory_kernel_bytes).EndObject();
  out.Key("raw").BeginObject().Optional("active_file", detail.memory_active_file_bytes);
  out.Optional("inactive_file", detail.memory_inactive_file_bytes).Optional("rss", detail.stats.memory_rss_bytes);
  out.Optional("mapped_file", detail.memory_mapped_file_bytes).Optional("pgfault", detail.stats.page_faults);
  out.Optional("pgmajfault", detail.stats.major_page_faults).EndObject().EndObject();
}

void Io(JsonWriter& out, const std::vector<sys::BlockDeviceIo>& devices, std::string_view key,
        uint64_t sys::BlockDeviceIo::*reads, uint64_t sys::BlockDeviceIo::*writes) {
  if (devices.empty()) return;
  out.Key(key).BeginArray();
  for (const sys::BlockDeviceIo& device : devices) {
    for (auto [name, value] : {std::pair("Read", device.*reads), std::pair("Write", device.*writes)}) {
      out.BeginObject().Field("major", device.major).Field("minor", device.minor);
      out.Field("op", name).Field("value", value).EndObject();
    }
  }
  out.EndArray();
}

}  // namespace

std::string StatsEvent(const std::string& id, const sys::CgroupDetail& detail) {
  JsonWriter out;
  out.BeginObject().Field("type", "stats").Field("id", id).Key("data").BeginObject();
  Cpu(out, detail);
  Memory(out, detail);
  out.Key("pids").BeginObject().Optional("current", detail.stats.pids).Optional("limit", detail.pids_limit);
  out.EndObject();
  out.Key("blkio").BeginObject();
  Io(out, detail.io, "ioServiceBytesRecursive", &sys::BlockDeviceIo::read_bytes, &sys::BlockDeviceIo::write_bytes);
  Io(out, detail.io, "ioServicedRecursive", &sys::BlockDeviceIo::reads, &sys::BlockDeviceIo::writes);
  out.EndObject();
  out.Key("hugetlb").BeginObject();
  for (const sys::HugepageUse& use : detail.hugepages) {
    out.Key(use.page_size).BeginObject().Field("usage", use.usage_bytes).Optional("max", use.max_usage_bytes);
    out.EndObject();
  }
  out.EndObject().EndObject().EndObject();
  return std::move(out).Take();
}

}  // namespace davit::native
