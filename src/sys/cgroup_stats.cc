#include "sys/cgroup_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

#include "base/strings.h"
#include "base/time.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

// A v1 limit that was never set is LONG_MAX rounded down to pages.
constexpr uint64_t kUnlimited = uint64_t{1} << 62;
constexpr int kMaxDepth = 64;

// Of the version 1 blkio controller and of io.stat.
constexpr size_t kMaxDevices = 256;

// The files of one cgroup's directory, one after the other through one buffer.
class Files {
 public:
  // Views: of `this` until the next call.
  Files(const std::string& mount_point, const std::string& cgroup, CgroupFiles& open)
      : open_(open), directory_(mount_point + cgroup) {}

  // nullopt for a file that is not there, cannot be read now or is larger than the buffer.
  std::optional<std::string_view> Read(std::string_view name) {
    const std::optional<size_t> size = open_.Read(directory_, name, buffer_);
    if (!size) return std::nullopt;
    return std::string_view(buffer_.data(), *size);
  }

  // nullopt for "max" too.
  std::optional<uint64_t> Number(std::string_view name) {
    std::optional<std::string_view> text = Read(name);
    if (!text) return std::nullopt;
    return ParseUint64(Trim(*text));
  }

  // A limit: nullopt when it is none.
  std::optional<uint64_t> Limit(std::string_view name) {
    std::optional<uint64_t> limit = Number(name);
    if (limit && *limit >= kUnlimited) return std::nullopt;
    return limit;
  }

 private:
  CgroupFiles& open_;
  const std::string directory_;
  std::array<char, 16384> buffer_;
};

// The piece of `text` before `separator`, taken off it together with the separator.
std::string_view Cut(std::string_view& text, char separator) {
  size_t at = text.find(separator);
  std::string_view piece = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return piece;
}

struct Wanted {
  std::string_view key;
  std::optional<uint64_t>* target;
  uint64_t factor = 1;
};

// "key value" lines.
template <size_t N>
void TakePairs(std::optional<std::string_view> text, const std::array<Wanted, N>& wanted) {
  if (!text) return;
  while (!text->empty()) {
    std::string_view line = Cut(*text, '\n');
    std::string_view key = Cut(line, ' ');
    for (const Wanted& one : wanted) {
      if (one.key != key) continue;
      if (std::optional<uint64_t> value = ParseUint64(Trim(line))) *one.target = *value * one.factor;
    }
  }
}

std::optional<PressureLine> ParsePressureLine(std::string_view line) {
  PressureLine parsed;
  bool complete = false;
  while (!line.empty()) {
    std::string_view item = Cut(line, ' ');
    std::string_view key = Cut(item, '=');
    if (key == "total") {
      std::optional<uint64_t> total = ParseUint64(item);
      if (!total) return std::nullopt;
      parsed.total_micros = *total;
      complete = true;
      continue;
    }
    double* target = key == "avg10"    ? &parsed.avg10
                     : key == "avg60"  ? &parsed.avg60
                     : key == "avg300" ? &parsed.avg300
                                       : nullptr;
    if (target == nullptr) continue;  // a newer kernel's
    auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), *target);
    if (error != std::errc() || end != item.data() + item.size()) return std::nullopt;
  }
  if (!complete) return std::nullopt;
  return parsed;
}

std::optional<Pressure> ReadPressure(Files& files, std::string_view name) {
  std::optional<std::string_view> text = files.Read(name);
  if (!text) return std::nullopt;
  return ParsePressure(*text);
}

void ReadCpuUsage(const std::string& mount_point, bool v1, const std::string& cgroup, CgroupFiles& open,
                  CgroupDetail& detail, bool everything) {
  Files files(mount_point, cgroup, open);
  if (v1) {
    detail.stats.cpu_usage_nanos = files.Number("cpuacct.usage");
    if (!everything) return;
    detail.cpu_user_nanos = files.Number("cpuacct.usage_user");
    detail.cpu_system_nanos = files.Number("cpuacct.usage_sys");
    return;
  }
  TakePairs(files.Read("cpu.stat"), std::array<Wanted, 6>{{{"usage_usec", &detail.stats.cpu_usage_nanos, 1000},
                                                           {"user_usec", &detail.cpu_user_nanos, 1000},
                                                           {"system_usec", &detail.cpu_system_nanos, 1000},
                                                           {"nr_periods", &detail.cpu_periods},
                                                           {"nr_throttled", &detail.cpu_throttled_periods},
                                                           {"throttled_usec", &detail.cpu_throttled_nanos, 1000}}});
}

void ReadCpuControl(const std::string& mount_point, bool v1, const std::string& cgroup, CgroupFiles& open,
                    CgroupDetail& detail) {
  Files files(mount_point, cgroup, open);
  if (v1) {
    TakePairs(files.Read("cpu.stat"), std::array<Wanted, 3>{{{"nr_periods", &detail.cpu_periods},
                                                             {"nr_throttled", &detail.cpu_throttled_periods},
                                                             {"throttled_time", &detail.cpu_throttled_nanos}}});
    detail.cpu_shares = files.Number("cpu.shares");
    detail.cpu_quota_micros = files.Number("cpu.cfs_quota_us");  // "-1" is no number here: unlimited
    detail.cpu_period_micros = files.Number("cpu.cfs_period_us");
    return;
  }
  if (std::optional<std::string_view> max = files.Read("cpu.max")) {  // "max 100000"
    std::string_view text = Trim(*max);
    detail.cpu_quota_micros = ParseUint64(Cut(text, ' '));
    detail.cpu_period_micros = ParseUint64(text);
  }
}

void SetWorkingSet(CgroupDetail& detail) {
  CgroupStats& stats = detail.stats;
  if (!stats.memory_usage_bytes) return;
  uint64_t inactive = detail.memory_inactive_file_bytes.value_or(0);
  stats.memory_working_set_bytes = *stats.memory_usage_bytes - std::min(inactive, *stats.memory_usage_bytes);
}

// version 1: total_* include the cgroups below.
void ReadMemoryV1(Files& files, CgroupDetail& detail, bool everything) {
  CgroupStats& stats = detail.stats;
  std::optional<uint64_t> effective_limit;
  TakePairs(files.Read("memory.stat"),
            std::array<Wanted, 9>{{{"hierarchical_memory_limit", &effective_limit},
                                   {"total_rss", &stats.memory_rss_bytes},
                                   {"total_cache", &detail.memory_cache_bytes},
                                   {"total_mapped_file", &detail.memory_mapped_file_bytes},
                                   {"total_swap", &stats.swap_usage_bytes},
                                   {"total_pgfault", &stats.page_faults},
                                   {"total_pgmajfault", &stats.major_page_faults},
                                   {"total_active_file", &detail.memory_active_file_bytes},
                                   {"total_inactive_file", &detail.memory_inactive_file_bytes}}});
  stats.memory_usage_bytes = files.Number("memory.usage_in_bytes");
  // The smallest limit from here up to the root: when there is none, this cgroup has none, and a read is saved.
  if (!effective_limit || *effective_limit < kUnlimited) {
    stats.memory_limit_bytes = files.Limit("memory.limit_in_bytes");
  }
  if (stats.memory_limit_bytes) {
    // Memory and swap together; missing without swap accounting.
    std::optional<uint64_t> both = files.Limit("memory.memsw.limit_in_bytes");
    if (both && *both >= *stats.memory_limit_bytes) stats.swap_limit_bytes = *both - *stats.memory_limit_bytes;
  }
  SetWorkingSet(detail);
  if (!everything) return;
  detail.memory_kernel_bytes = files.Number("memory.kmem.usage_in_bytes");
  detail.memory_max_usage_bytes = files.Number("memory.max_usage_in_bytes");
  detail.memory_limit_hits = files.Number("memory.failcnt");
  detail.memory_reservation_bytes = files.Limit("memory.soft_limit_in_bytes");
  TakePairs(files.Read("memory.oom_control"), std::array<Wanted, 1>{{{"oom_kill", &detail.oom_kills}}});
}

void ReadMemoryV2(Files& files, CgroupDetail& detail, bool everything) {
  CgroupStats& stats = detail.stats;
  TakePairs(files.Read("memory.stat"), std::array<Wanted, 8>{{{"anon", &stats.memory_rss_bytes},
                                                              {"file", &detail.memory_cache_bytes},
                                                              {"file_mapped", &detail.memory_mapped_file_bytes},
                                                              {"kernel", &detail.memory_kernel_bytes},
                                                              {"pgfault", &stats.page_faults},
                                                              {"pgmajfault", &stats.major_page_faults},
                                                              {"active_file", &detail.memory_active_file_bytes},
                                                              {"inactive_file", &detail.memory_inactive_file_bytes}}});
  stats.memory_usage_bytes = files.Number("memory.current");
  stats.memory_limit_bytes = files.Limit("memory.max");
  stats.swap_usage_bytes = files.Number("memory.swap.current");
  if (stats.swap_usage_bytes) stats.swap_limit_bytes = files.Limit("memory.swap.max");
  SetWorkingSet(detail);
  if (!everything) return;
  detail.memory_max_usage_bytes = files.Number("memory.peak");
  detail.memory_reservation_bytes = files.Limit("memory.low");
  if (detail.memory_reservation_bytes == 0U) detail.memory_reservation_bytes.reset();
  TakePairs(files.Read("memory.events"),
            std::array<Wanted, 2>{{{"max", &detail.memory_limit_hits}, {"oom_kill", &detail.oom_kills}}});
}

// "8:0"; nullopt for a line of another kind ("Total 0").
std::optional<BlockDeviceIo> ParseDevice(std::string_view text) {
  std::optional<uint64_t> major = ParseUint64(Cut(text, ':'));
  std::optional<uint64_t> minor = ParseUint64(text);
  if (!major || !minor) return std::nullopt;
  BlockDeviceIo device;
  device.major = static_cast<uint32_t>(*major);
  device.minor = static_cast<uint32_t>(*minor);
  return device;
}

BlockDeviceIo* Device(std::vector<BlockDeviceIo>& devices, std::string_view number) {
  std::optional<BlockDeviceIo> device = ParseDevice(number);
  if (!device) return nullptr;
  auto same = [&](const BlockDeviceIo& one) { return one.major == device->major && one.minor == device->minor; };
  auto found = std::find_if(devices.begin(), devices.end(), same);
  if (found != devices.end()) return &*found;
  if (devices.size() == kMaxDevices) return nullptr;
  devices.push_back(*device);
  return &devices.back();
}

// Lines "8:0 Read 4096".
void TakeBlkio(std::optional<std::string_view> text, uint64_t BlockDeviceIo::*reads, uint64_t BlockDeviceIo::*writes,
               std::vector<BlockDeviceIo>& devices) {
  if (!text) return;
  while (!text->empty()) {
    std::string_view line = Cut(*text, '\n');
    std::string_view number = Cut(line, ' ');
    std::string_view operation = Cut(line, ' ');
    std::optional<uint64_t> value = ParseUint64(line);
    if (!value || (operation != "Read" && operation != "Write")) continue;
    if (BlockDeviceIo* device = Device(devices, number)) device->*(operation == "Read" ? reads : writes) = *value;
  }
}

// Lines "8:0 rbytes=0 wbytes=4096 rios=0 wios=1 dbytes=0 dios=0".
void TakeIoStat(std::optional<std::string_view> text, std::vector<BlockDeviceIo>& devices) {
  if (!text) return;
  while (!text->empty()) {
    std::string_view line = Cut(*text, '\n');
    BlockDeviceIo* device = Device(devices, Cut(line, ' '));
    if (device == nullptr) continue;
    while (!line.empty()) {
      std::string_view item = Cut(line, ' ');
      std::string_view key = Cut(item, '=');
      uint64_t value = ParseUint64(item).value_or(0);
      if (key == "rbytes") device->read_bytes = value;
      if (key == "wbytes") device->write_bytes = value;
      if (key == "rios") device->reads = value;
      if (key == "wios") device->writes = value;
    }
  }
}

// /sys/dev/block/8:0 links to the device's directory, whose name is the device's.
std::string DeviceName(const BlockDeviceIo& device) {
  const std::string link = "/sys/dev/block/" + std::to_string(device.major) + ":" + std::to_string(device.minor);
  std::array<char, 512> target;
  ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
  if (n <= 0) return {};
  std::string_view path(target.data(), static_cast<size_t>(n));
  return "/dev/" + std::string(path.substr(path.rfind('/') + 1));
}

void ReadIo(const std::string& mount_point, bool v1, const std::string& cgroup, CgroupFiles& open,
            CgroupDetail& detail) {
  Files files(mount_point, cgroup, open);
  if (v1) {
    TakeBlkio(files.Read("blkio.throttle.io_service_bytes_recursive"), &BlockDeviceIo::read_bytes,
              &BlockDeviceIo::write_bytes, detail.io);
    TakeBlkio(files.Read("blkio.throttle.io_serviced_recursive"), &BlockDeviceIo::reads, &BlockDeviceIo::writes,
              detail.io);
  } else {
    TakeIoStat(files.Read("io.stat"), detail.io);
  }
  for (BlockDeviceIo& device : detail.io) device.name = DeviceName(device);
}

void ReadHugepages(const std::string& mount_point, bool v1, const std::string& cgroup,
                   const std::vector<std::string>& page_sizes, CgroupFiles& open, CgroupDetail& detail) {
  Files files(mount_point, cgroup, open);
  for (const std::string& size : page_sizes) {
    const std::string prefix = "hugetlb." + size;
    std::optional<uint64_t> usage = files.Number(prefix + (v1 ? ".usage_in_bytes" : ".current"));
    if (!usage) continue;
    HugepageUse use;
    use.page_size = size;
    use.usage_bytes = *usage;
    if (v1) use.max_usage_bytes = files.Number(prefix + ".max_usage_in_bytes");
    detail.hugepages.push_back(std::move(use));
  }
}

struct CloseDirectory {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using DirectoryPtr = std::unique_ptr<DIR, CloseDirectory>;

// "2MB" from "hugepages-2048kB", the names that the hugetlb controller's files have.
std::vector<std::string> PageSizes() {
  std::vector<std::string> sizes;
  DirectoryPtr dir(::opendir("/sys/kernel/mm/hugepages"));
  if (!dir) return sizes;
  while (dirent* entry = ::readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (Cut(name, '-') != "hugepages" || !name.ends_with("kB")) continue;
    std::optional<uint64_t> kilobytes = ParseUint64(name.substr(0, name.size() - 2));
    if (!kilobytes) continue;
    if (*kilobytes >= 1 << 20) {
      sizes.push_back(std::to_string(*kilobytes >> 20) + "GB");
    } else if (*kilobytes >= 1 << 10) {
      sizes.push_back(std::to_string(*kilobytes >> 10) + "MB");
    } else {
      sizes.push_back(std::to_string(*kilobytes) + "KB");
    }
  }
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

// Lines of cgroup.procs, which the kernel hands out a page at a time.
uint64_t CountLines(int directory) {
  UniqueFd fd(::openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return 0;
  std::array<char, 4096> buffer;
  uint64_t lines = 0;
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return lines;  // ENODEV: gone meanwhile
    lines += static_cast<uint64_t>(std::count(buffer.begin(), buffer.begin() + n, '\n'));
  }
}

uint64_t CountBelow(UniqueFd directory, int depth) {
  uint64_t count = CountLines(directory.get());
  struct stat info {};
  // A cgroup without children has two links (kernfs keeps the count): nothing to list.
  if (depth == 0 || ::fstat(directory.get(), &info) != 0 || info.st_nlink == 2) return count;
  int raw = directory.release();
  DirectoryPtr dir(::fdopendir(raw));
  if (!dir) {
    ::close(raw);
    return count;
  }
  while (dirent* entry = ::readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
    UniqueFd child(::openat(raw, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (child.valid()) count += CountBelow(std::move(child), depth - 1);
  }
  return count;
}

}  // namespace

std::optional<Pressure> ParsePressure(std::string_view text) {
  Pressure pressure;
  while (!text.empty()) {
    std::string_view line = Cut(text, '\n');
    std::string_view kind = Cut(line, ' ');
    if (kind == "some") pressure.some = ParsePressureLine(line);
    if (kind == "full") pressure.full = ParsePressureLine(line);
  }
  if (!pressure.some && !pressure.full) return std::nullopt;
  return pressure;
}

CgroupStatsReader::Place CgroupStatsReader::Find(const CgroupLayout& layout, const std::string& controller) {
  if (std::optional<std::string> v1 = layout.V1MountPoint(controller)) return {*v1, true};
  if (std::optional<std::string> v2 = layout.Directory(controller, "")) return {*v2, false};
  return {};
}

CgroupStatsReader::CgroupStatsReader(const CgroupLayout& layout, size_t most_open)
    : cpuacct_(Find(layout, "cpuacct")),
      cpu_(Find(layout, "cpu")),
      memory_(Find(layout, "memory")),
      pids_(Find(layout, "pids")),
      io_(Find(layout, "blkio")),
      hugetlb_(Find(layout, "hugetlb")),
      unified_(layout.unified_mount_point()),
      unified_only_(layout.mode() == CgroupMode::kUnified),
      page_sizes_(PageSizes()),
      files_(most_open) {
  // Version 2 counts CPU time without a controller, and calls blkio "io".
  if (cpuacct_.mount_point.empty()) cpuacct_ = cpu_.v1 ? Place{} : cpu_;
  if (io_.mount_point.empty()) io_ = Find(layout, "io");
}

Status CgroupStatsReader::ReadUsage(const std::string& path, CgroupFiles& open, CgroupDetail& detail,
                                    bool everything) const {
  ASSIGN_OR_RETURN(std::string cgroup, CleanCgroupPath(path));
  CgroupStats& stats = detail.stats;
  stats.timestamp = WallNanos();
  if (!cpuacct_.mount_point.empty()) ReadCpuUsage(cpuacct_.mount_point, cpuacct_.v1, cgroup, open, detail, everything);
  if (!memory_.mount_point.empty()) {
    Files files(memory_.mount_point, cgroup, open);
    if (memory_.v1) {
      ReadMemoryV1(files, detail, everything);
    } else {
      ReadMemoryV2(files, detail, everything);
    }
  }
  // Tasks are for metrics alone, or to find the cgroup where nothing else is counted.
  if (!pids_.mount_point.empty() && (everything || (!stats.cpu_usage_nanos && !stats.memory_usage_bytes))) {
    Files files(pids_.mount_point, cgroup, open);
    stats.pids = files.Number("pids.current");
    if (everything) detail.pids_limit = files.Number("pids.max");
  }
  if (!stats.cpu_usage_nanos && !stats.memory_usage_bytes && !stats.pids) {
    return NotFound("cgroup " + cgroup + " is not there");
  }
  if (unified_.empty()) return {};
  Files files(unified_, cgroup, open);
  if (!unified_only_) {
    // A runtime need not put processes into a hierarchy without controllers; the zeros of an empty cgroup would
    // be an invention.
    std::optional<uint64_t> populated;
    TakePairs(files.Read("cgroup.events"), std::array<Wanted, 1>{{{"populated", &populated}}});
    if (populated != 1U) return {};
  }
  stats.cpu_pressure = ReadPressure(files, "cpu.pressure");
  stats.memory_pressure = ReadPressure(files, "memory.pressure");
  stats.io_pressure = ReadPressure(files, "io.pressure");
  return {};
}

Result<CgroupStats> CgroupStatsReader::Read(const std::string& cgroup) const {
  CgroupDetail detail;
  RETURN_IF_ERROR(ReadUsage(cgroup, files_, detail, /*everything=*/false));
  return detail.stats;
}

Result<CgroupDetail> CgroupStatsReader::ReadDetail(const std::string& cgroup) const {
  CgroupFiles open(0);
  CgroupDetail detail;
  RETURN_IF_ERROR(ReadUsage(cgroup, open, detail, /*everything=*/true));
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  if (!cpu_.mount_point.empty()) ReadCpuControl(cpu_.mount_point, cpu_.v1, clean, open, detail);
  if (!io_.mount_point.empty()) ReadIo(io_.mount_point, io_.v1, clean, open, detail);
  if (!hugetlb_.mount_point.empty()) {
    ReadHugepages(hugetlb_.mount_point, hugetlb_.v1, clean, page_sizes_, open, detail);
  }
  return detail;
}

Result<uint64_t> CgroupStatsReader::CountProcesses(const std::string& cgroup) const {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  const std::string& mount_point = pids_.mount_point.empty() ? memory_.mount_point : pids_.mount_point;
  ASSIGN_OR_RETURN(UniqueFd directory, Open(mount_point + clean, O_RDONLY | O_DIRECTORY));
  return CountBelow(std::move(directory), kMaxDepth);
}

void CgroupStatsReader::Forget(const std::string& cgroup) const {
  Result<std::string> clean = CleanCgroupPath(cgroup);
  if (!clean.ok() || clean->empty() || *clean == "/") return;
  for (const std::string& mount_point : {cpuacct_.mount_point, memory_.mount_point, pids_.mount_point, unified_}) {
    if (!mount_point.empty()) files_.Forget(mount_point + *clean);
  }
}

}  // namespace davit::sys
