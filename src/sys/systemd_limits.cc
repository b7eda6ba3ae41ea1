#include "sys/systemd_limits.h"

#include <algorithm>

#include "base/strings.h"
#include "sys/systemd_names.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxFileBytes = 64 * 1024;
constexpr uint64_t kMaxCpu = 8191;  // of any kernel that Debian builds

Status NotTheKernels(const std::string& file, const std::string& text) {
  return Internal(file + ": \"" + Printable(text) + "\" is no limit");
}

// nullopt when the file is not there.
std::optional<std::string> Read(const std::string& file) {
  Result<std::string> text = ReadFile(file, kMaxFileBytes);
  if (!text.ok()) return std::nullopt;
  return std::string(Trim(*text));
}

Status ReadNumber(const std::string& file, std::optional<uint64_t>& value) {
  std::optional<std::string> text = Read(file);
  if (!text) return {};
  value = *text == "max" ? UnitLimits::kNoLimit : ParseUint64(*text);
  return value ? Status() : NotTheKernels(file, *text);
}

// "20000 100000" or "max 100000": microseconds in a period.
Status ReadQuota(const std::string& file, UnitLimits& limits) {
  std::optional<std::string> text = Read(file);
  if (!text) return {};
  std::vector<std::string> words = Split(*text, ' ');
  std::optional<uint64_t> period = words.size() == 2 ? ParseUint64(words[1]) : std::nullopt;
  std::optional<uint64_t> quota = words[0] == "max" ? UnitLimits::kNoLimit : ParseUint64(words[0]);
  if (!period || !quota || *period == 0 || (*quota != UnitLimits::kNoLimit && *quota > UINT64_MAX / 2'000'000)) {
    return NotTheKernels(file, *text);
  }
  limits.cpu_period = period;
  // Rounded up: systemd divides again, and must come to at least the same.
  limits.cpu_quota_per_second =
      *quota == UnitLimits::kNoLimit ? UnitLimits::kNoLimit : (*quota * 1'000'000 + *period - 1) / *period;
  return {};
}

// "0-3,7" as a bitmap; "" (all of the parent's) as an empty one.
Status ReadSet(const std::string& file, std::optional<std::vector<uint8_t>>& bits) {
  std::optional<std::string> text = Read(file);
  if (!text) return {};
  bits.emplace();
  if (text->empty()) return {};
  for (const std::string& range : Split(*text, ',')) {
    size_t dash = range.find('-');
    std::optional<uint64_t> first = ParseUint64(range.substr(0, dash));
    std::optional<uint64_t> last = dash == std::string::npos ? first : ParseUint64(range.substr(dash + 1));
    if (!first || !last || *first > *last || *last > kMaxCpu) return NotTheKernels(file, *text);
    for (uint64_t n = *first; n <= *last; ++n) {
      bits->resize(std::max<size_t>(bits->size(), n / 8 + 1));
      (*bits)[n / 8] = static_cast<uint8_t>((*bits)[n / 8] | (1u << (n % 8)));
    }
  }
  return {};
}

}  // namespace

Result<UnitLimits> ReadUnitLimits(const std::string& directory) {
  UnitLimits limits;
  RETURN_IF_ERROR(ReadNumber(directory + "/memory.min", limits.memory_min));
  RETURN_IF_ERROR(ReadNumber(directory + "/memory.low", limits.memory_low));
  RETURN_IF_ERROR(ReadNumber(directory + "/memory.high", limits.memory_high));
  RETURN_IF_ERROR(ReadNumber(directory + "/memory.max", limits.memory_max));
  RETURN_IF_ERROR(ReadNumber(directory + "/memory.swap.max", limits.swap_max));
  RETURN_IF_ERROR(ReadNumber(directory + "/cpu.weight", limits.cpu_weight));
  RETURN_IF_ERROR(ReadQuota(directory + "/cpu.max", limits));
  RETURN_IF_ERROR(ReadSet(directory + "/cpuset.cpus", limits.cpus));
  RETURN_IF_ERROR(ReadSet(directory + "/cpuset.mems", limits.memory_nodes));
  RETURN_IF_ERROR(ReadNumber(directory + "/pids.max", limits.tasks));
  return limits;
}

Status KeepUnitLimits(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline) {
  if (layout.mode() != CgroupMode::kUnified || (!IsScope(cgroup) && !IsSlice(cgroup))) return {};
  ASSIGN_OR_RETURN(UnitLimits limits, ReadUnitLimits(layout.unified_mount_point() + cgroup));
  return SetUnitLimits(UnitName(cgroup), limits, deadline);
}

}  // namespace davit::sys
