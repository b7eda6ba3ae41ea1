#include "sys/cgroup_limits.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxFileBytes = 1 << 16;
// A v1 limit that was never set is LONG_MAX rounded down to pages.
constexpr int64_t kUnlimited = int64_t{1} << 62;

std::string Number(int64_t value) { return std::to_string(value); }

// One file with one value; `wanted` compares as the kernel shows it, `value` is what is written.
struct Step {
  std::string field;
  std::string file;
  std::string value;
};

Result<std::string> ReadText(const std::string& file) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(file, kMaxFileBytes));
  return std::string(Trim(text));
}

bool Exists(const std::string& file) { return ::access(file.c_str(), F_OK) == 0; }

// "max" and v1's huge number are -1.
int64_t ToLimit(const std::string& text) {
  int64_t value = ParseInt64(text).value_or(-1);
  return value >= kUnlimited ? -1 : value;
}

bool Above(int64_t limit, int64_t other) { return other != -1 && (limit == -1 || limit > other); }

// The kernel shows byte limits in whole pages, cpu lists in its own notation and weights as they are.
bool Same(const std::string& field, const std::string& shown, const std::string& value) {
  if (shown == value) return true;
  if (field.rfind("cpuset", 0) == 0) {
    Result<std::vector<int>> left = ParseCpuList(shown);
    Result<std::vector<int>> right = ParseCpuList(value);
    return left.ok() && right.ok() && *left == *right;
  }
  if (field.rfind("memory", 0) == 0 || field.rfind("hugepage", 0) == 0) {
    const int64_t page = ::sysconf(_SC_PAGESIZE);
    int64_t left = ToLimit(shown);
    int64_t right = ToLimit(value);
    return left == right || (right > 0 && left == right - right % page);
  }
  return false;
}

// Of "2MB"; 0 for anything else.
uint64_t PageSizeBytes(const std::string& size) {
  if (size.size() < 3) return 0;
  std::optional<uint64_t> number = ParseUint64(size.substr(0, size.size() - 2));
  const std::string unit = size.substr(size.size() - 2);
  int shift = unit == "KB" ? 10 : unit == "MB" ? 20 : unit == "GB" ? 30 : 0;
  return number && shift > 0 && *number < 1024 ? *number << shift : 0;
}

class Planner {
 public:
  Planner(const CgroupLayout& layout, std::string cgroup, const CgroupLimits& limits)
      : layout_(layout), cgroup_(std::move(cgroup)), limits_(limits) {}

  Result<std::vector<Step>> Plan() {
    if (limits_.memory_bytes || limits_.memory_swap_bytes) RETURN_IF_ERROR(Memory());
    if (limits_.cpu_shares || limits_.cpu_quota || limits_.cpu_period) RETURN_IF_ERROR(Cpu());
    if (!limits_.cpuset_cpus.empty() || !limits_.cpuset_mems.empty()) RETURN_IF_ERROR(Cpuset());
    if (!limits_.hugepages.empty()) RETURN_IF_ERROR(Hugepages());
    for (const auto& [name, value] : limits_.unified) {
      ASSIGN_OR_RETURN(std::string directory, Directory("unified"));
      Add("unified[" + name + "]", directory + "/" + name, value);
    }
    return std::move(steps_);
  }

 private:
  void Add(const std::string& field, const std::string& file, const std::string& value) {
    steps_.push_back({field, file, value});
  }

  bool V1(const std::string& controller) const { return layout_.V1MountPoint(controller).has_value(); }

  Result<std::string> Directory(const std::string& controller) {
    std::optional<std::string> directory = controller == "unified"
                                               ? std::optional(layout_.unified_mount_point() + cgroup_)
                                               : layout_.Directory(controller, cgroup_);
    if (!directory) return FailedPrecondition("this node's cgroups have no " + controller + " controller");
    if (!Exists(*directory)) return NotFound("cgroup " + cgroup_ + " is not there");
    return *directory;
  }

  Status Memory() {
    ASSIGN_OR_RETURN(std::string directory, Directory("memory"));
    if (!V1("memory")) return MemoryUnified(directory);
    const std::string limit_file = directory + "/memory.limit_in_bytes";
    const std::string swap_file = directory + "/memory.memsw.limit_in_bytes";
    std::vector<Step> both;
    if (limits_.memory_bytes) both.push_back({"memory_limit_in_bytes", limit_file, Number(*limits_.memory_bytes)});
    if (limits_.memory_swap_bytes && Exists(swap_file)) {
      both.push_back({"memory_swap_limit_in_bytes", swap_file, Number(*limits_.memory_swap_bytes)});
    }
    if (both.size() == 2) {
      // The kernel keeps memory <= memory and swap at every instant.
      ASSIGN_OR_RETURN(std::string shown, ReadText(swap_file));
      if (Above(*limits_.memory_bytes, ToLimit(shown))) std::swap(both[0], both[1]);
    }
    steps_.insert(steps_.end(), both.begin(), both.end());
    return {};
  }

  Status MemoryUnified(const std::string& directory) {
    auto text = [](int64_t value) { return value < 0 ? std::string("max") : Number(value); };
    if (limits_.memory_bytes) Add("memory_limit_in_bytes", directory + "/memory.max", text(*limits_.memory_bytes));
    const std::string swap_file = directory + "/memory.swap.max";
    if (!limits_.memory_swap_bytes || !Exists(swap_file)) return {};
    int64_t memory = limits_.memory_bytes.value_or(-1);
    if (!limits_.memory_bytes) {
      ASSIGN_OR_RETURN(std::string shown, ReadText(directory + "/memory.max"));
      memory = ToLimit(shown);
    }
    // Version 2 counts swap alone.
    int64_t swap = *limits_.memory_swap_bytes < 0 || memory < 0 ? -1 : *limits_.memory_swap_bytes - memory;
    Add("memory_swap_limit_in_bytes", swap_file, text(swap));
    return {};
  }

  Status Cpu() {
    ASSIGN_OR_RETURN(std::string directory, Directory("cpu"));
    if (!V1("cpu")) return CpuUnified(directory);
    if (limits_.cpu_shares) Add("cpu_shares", directory + "/cpu.shares", Number(*limits_.cpu_shares));
    std::vector<Step> both;
    if (limits_.cpu_period) {
      both.push_back({"cpu_period", directory + "/cpu.cfs_period_us", Number(*limits_.cpu_period)});
    }
    if (limits_.cpu_quota) {
      both.push_back({"cpu_quota", directory + "/cpu.cfs_quota_us", Number(*limits_.cpu_quota)});
    }
    if (both.size() == 2) {
      // The share in between must not exceed both the old and the new one, or a parent's limit refuses it.
      ASSIGN_OR_RETURN(std::string period, ReadText(directory + "/cpu.cfs_period_us"));
      if (*limits_.cpu_period < ParseInt64(period).value_or(0)) std::swap(both[0], both[1]);
    }
    steps_.insert(steps_.end(), both.begin(), both.end());
    return {};
  }

  Status CpuUnified(const std::string& directory) {
    if (limits_.cpu_shares) {
      // The conversion of the OCI runtimes: 2..262144 onto 1..10000.
      Add("cpu_shares", directory + "/cpu.weight", Number(1 + ((*limits_.cpu_shares - 2) * 9999) / 262142));
    }
    if (!limits_.cpu_quota && !limits_.cpu_period) return {};
    ASSIGN_OR_RETURN(std::string shown, ReadText(directory + "/cpu.max"));
    std::vector<std::string> words = Split(shown, ' ');
    words.resize(2, "100000");
    if (limits_.cpu_quota) words[0] = *limits_.cpu_quota < 0 ? "max" : Number(*limits_.cpu_quota);
    if (limits_.cpu_period) words[1] = Number(*limits_.cpu_period);
    Add(limits_.cpu_quota ? "cpu_quota" : "cpu_period", directory + "/cpu.max", words[0] + " " + words[1]);
    return {};
  }

  Status Cpuset() {
    ASSIGN_OR_RETURN(std::string directory, Directory("cpuset"));
    if (!limits_.cpuset_cpus.empty()) Add("cpuset_cpus", directory + "/cpuset.cpus", limits_.cpuset_cpus);
    if (!limits_.cpuset_mems.empty()) Add("cpuset_mems", directory + "/cpuset.mems", limits_.cpuset_mems);
    return {};
  }

  Status Hugepages() {
    ASSIGN_OR_RETURN(std::string directory, Directory("hugetlb"));
    const char* suffix = V1("hugetlb") ? "limit_in_bytes" : "max";
    for (const auto& [size, bytes] : limits_.hugepages) {
      const std::string field = "hugepage_limits[" + size + "]";
      const std::string base = directory + "/hugetlb." + size + ".";
      // In whole pages: the kernel rounds down, and what is read back has to compare.
      uint64_t whole = std::min<uint64_t>(bytes, uint64_t{1} << 62);
      whole -= whole % std::max<uint64_t>(PageSizeBytes(size), 1);
      std::string value = std::to_string(whole);
      Add(field, base + suffix, value);
      // Without a limit on reservations a mapping succeeds and the process dies when it touches a page.
      if (Exists(base + "rsvd." + suffix)) Add(field, base + "rsvd." + suffix, value);
    }
    return {};
  }

  const CgroupLayout& layout_;
  std::string cgroup_;
  const CgroupLimits& limits_;
  std::vector<Step> steps_;
};

// Version 1 refuses a limit below what is used; version 2 kills instead. Ask it to reclaim first, and
// refuse as version 1 does when that is not enough.
Status MakeRoom(const CgroupLayout& layout, const std::string& cgroup, const CgroupLimits& limits) {
  if (!limits.memory_bytes || *limits.memory_bytes < 0 || layout.V1MountPoint("memory")) return {};
  const int64_t limit = *limits.memory_bytes;
  const std::string directory = layout.Directory("memory", cgroup).value_or(std::string());
  const std::string usage_file = directory + "/memory.current";
  Result<std::string> usage = ReadText(usage_file);
  if (!usage.ok() || ToLimit(*usage) <= limit) return {};
  IgnoreError(WriteValue(directory + "/memory.reclaim", Number(ToLimit(*usage) - limit)));
  usage = ReadText(usage_file);
  if (!usage.ok() || ToLimit(*usage) <= limit) return {};
  return FailedPrecondition("memory_limit_in_bytes " + Number(limit) + " is below the " + *usage +
                            " bytes that are in use and cannot be reclaimed");
}

Status Refused(const Step& step, int err) {
  std::string what = step.field + " " + Printable(step.value);
  if (err == EBUSY && step.field.rfind("memory", 0) == 0) {
    return FailedPrecondition(what + " is below what is in use and cannot be reclaimed (" + step.file + ")");
  }
  if (err == EINVAL || err == ERANGE || err == EACCES || err == EPERM) {
    return InvalidArgument(what + ": the kernel refuses it (" + std::string(ErrnoError(err, step.file).message()) +
                           "); a cgroup above or below may not allow it");
  }
  if (err == ENOENT) return FailedPrecondition(what + ": " + step.file + " is not there");
  return ErrnoError(err, what + ": write " + step.file);
}

// errno of one write(2), 0 for success. An empty text resets a cpuset, and needs a byte to be a write.
int WriteOnce(const std::string& file, const std::string& value) {
  UniqueFd fd(::open(file.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd.valid()) return errno;
  std::string text = value.empty() ? "\n" : value;
  ssize_t written = 0;
  do {
    written = ::write(fd.get(), text.data(), text.size());
  } while (written < 0 && errno == EINTR);
  return written < 0 ? errno : 0;
}

class Transaction {
 public:
  Status Write(const Step& step) {
    Result<std::string> old = ReadText(step.file);
    if (!old.ok()) return Refused(step, ENOENT);
    if (Same(step.field, *old, step.value)) return {};
    if (int err = WriteOnce(step.file, step.value); err != 0) return Refused(step, err);
    done_.push_back({step.field, step.file, *old});
    return {};
  }

  // In reverse: each state on the way back is one that the kernel took on the way here.
  Status Undo() {
    Status first;
    for (auto step = done_.rbegin(); step != done_.rend(); ++step) {
      for (const std::string& line : Split(step->value, '\n')) {
        int err = WriteOnce(step->file, line);
        if (err != 0 && first.ok()) first = ErrnoError(err, "restore " + step->file);
      }
    }
    done_.clear();
    return first;
  }

 private:
  std::vector<Step> done_;  // with the old values
};

// `ours`: written here. Runtimes leave the limit on reserved pages out (crun), and newer ones turn shares into
// another weight.
Status CheckSteps(const std::vector<Step>& steps, bool ours) {
  for (const Step& step : steps) {
    bool theirs_differs = step.file.find(".rsvd.") != std::string::npos || step.file.ends_with("/cpu.weight");
    if (!ours && theirs_differs) continue;
    if (step.field.rfind("unified", 0) == 0) continue;  // what such a file shows is not always what was written
    ASSIGN_OR_RETURN_WITH(std::string shown, ReadText(step.file), step.field);
    if (!Same(step.field, shown, step.value)) {
      return FailedPrecondition(step.field + " " + Printable(step.value) + " is not in effect: " + step.file +
                                " says " + Printable(shown));
    }
  }
  return {};
}

Status BadField(const std::string& prefix, const std::string& field, const std::string& why) {
  return InvalidArgument(prefix + "." + field + " " + why);
}

Status CheckRange(const std::string& prefix, const char* field, const std::optional<int64_t>& value, int64_t low,
                  int64_t high, bool minus_one) {
  if (!value || (minus_one && *value == -1) || (*value >= low && *value <= high)) return {};
  return BadField(prefix, field,
                  Number(*value) + " is not in " + Number(low) + ".." + Number(high) + (minus_one ? " or -1" : ""));
}

Status CheckList(const std::string& prefix, const char* field, const std::string& text, const std::string& online) {
  if (text.empty()) return {};
  Result<std::vector<int>> asked = ParseCpuList(text);
  if (!asked.ok()) return asked.status().Annotate(prefix + "." + field);
  Result<std::vector<int>> have = ParseCpuList(online);
  if (!have.ok()) return {};
  for (int number : *asked) {
    if (std::binary_search(have->begin(), have->end(), number)) continue;
    return BadField(prefix, field,
                    "\"" + Printable(text) + "\": this node has " + Number(number) + " not, but " + online);
  }
  return {};
}

Status CheckMemory(const CgroupLimits& limits, const std::string& prefix) {
  // Below this no process starts: it would be killed before it says why.
  constexpr int64_t kLeast = int64_t{512} << 10;
  RETURN_IF_ERROR(CheckRange(prefix, "memory_limit_in_bytes", limits.memory_bytes, kLeast, INT64_MAX, true));
  RETURN_IF_ERROR(CheckRange(prefix, "memory_swap_limit_in_bytes", limits.memory_swap_bytes, kLeast, INT64_MAX, true));
  int64_t swap = limits.memory_swap_bytes.value_or(-1);
  if (swap < 0) return {};
  int64_t memory = limits.memory_bytes.value_or(-1);
  if (memory < 0) {
    return BadField(prefix, "memory_swap_limit_in_bytes", Number(swap) + " needs a memory_limit_in_bytes");
  }
  if (swap < memory) {
    return BadField(
        prefix, "memory_swap_limit_in_bytes",
        Number(swap) + " counts memory and swap together and is below memory_limit_in_bytes " + Number(memory));
  }
  return {};
}

Status CheckUnified(const CgroupLimits& limits, const CgroupAbilities& node, const std::string& prefix) {
  constexpr size_t kMaxEntries = 128;
  constexpr size_t kMaxValue = 4096;
  if (limits.unified.empty()) return {};
  if (!node.unified) return BadField(prefix, "unified", "names files of cgroup version 2, this node has version 1");
  if (limits.unified.size() > kMaxEntries) return BadField(prefix, "unified", "has more than 128 entries");
  for (const auto& [name, value] : limits.unified) {
    const std::string field = "unified[" + Printable(name) + "]";
    bool letters = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
             c == '-';
    });
    if (!letters || name.size() > 128 || name.find('.') == std::string::npos || name.front() == '.' ||
        name.find("..") != std::string::npos) {
      return BadField(prefix, field, "is no name of a file of a controller");
    }
    // cgroup.procs, cgroup.kill, cgroup.subtree_control: no limits, and the engine's own.
    if (name.rfind("cgroup.", 0) == 0) return BadField(prefix, field, "is not a limit");
    const std::string controller = name.substr(0, name.find('.'));
    if (std::find(node.controllers.begin(), node.controllers.end(), controller) == node.controllers.end()) {
      return BadField(prefix, field, "this node's controllers are " + Join(node.controllers, ", "));
    }
    if (value.empty() || value.size() > kMaxValue || value.find('\n') != std::string::npos ||
        value.find('\0') != std::string::npos) {
      return BadField(prefix, field, "has an empty value, one above 4096 bytes, or one with a newline or NUL");
    }
  }
  return {};
}

Status CheckHugepages(const CgroupLimits& limits, const CgroupAbilities& node, const std::string& prefix) {
  for (const auto& [size, bytes] : limits.hugepages) {
    const std::string field = "hugepage_limits";
    bool known = std::find(node.hugepage_sizes.begin(), node.hugepage_sizes.end(), size) != node.hugepage_sizes.end();
    if (!known) {
      return BadField(prefix, field,
                      "page_size \"" + Printable(size) + "\": this node has " +
                          (node.hugepage_sizes.empty() ? "none" : Join(node.hugepage_sizes, ", ")));
    }
    if (bytes > 0 && !node.hugetlb) {
      return BadField(prefix, field, "cannot be held: this node's cgroups have no hugetlb controller");
    }
  }
  return {};
}

// "hugepages-2048kB" -> "2MB".
std::string PageSizeName(const std::string& directory) {
  constexpr std::string_view kPrefix = "hugepages-";
  if (directory.rfind(kPrefix, 0) != 0) return {};
  std::string digits = directory.substr(kPrefix.size());
  if (digits.size() < 3 || digits.substr(digits.size() - 2) != "kB") return {};
  std::optional<uint64_t> kilobytes = ParseUint64(digits.substr(0, digits.size() - 2));
  if (!kilobytes) return {};
  if (*kilobytes >= 1 << 20) return std::to_string(*kilobytes >> 20) + "GB";
  if (*kilobytes >= 1 << 10) return std::to_string(*kilobytes >> 10) + "MB";
  return std::to_string(*kilobytes) + "KB";
}

std::vector<std::string> DirectoryNames(const std::string& path) {
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  std::vector<std::string> names;
  std::unique_ptr<DIR, Close> dir(::opendir(path.c_str()));
  if (!dir) return names;
  while (dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The root of version 2 has no limits of its own: a cgroup below it shows which files there are.
bool AccountsSwap(const CgroupLayout& layout) {
  if (auto memory = layout.V1MountPoint("memory")) return Exists(*memory + "/memory.memsw.limit_in_bytes");
  std::optional<std::string> root = layout.Directory("memory", "");
  if (!root) return false;
  for (const std::string& name : DirectoryNames(*root)) {
    if (Exists(*root + "/" + name + "/memory.max")) return Exists(*root + "/" + name + "/memory.swap.max");
  }
  return true;
}

}  // namespace

bool CgroupLimits::empty() const {
  return !memory_bytes && !memory_swap_bytes && !cpu_shares && !cpu_quota && !cpu_period && cpuset_cpus.empty() &&
         cpuset_mems.empty() && hugepages.empty() && unified.empty();
}

Result<CgroupAbilities> CgroupAbilities::Read(const CgroupLayout& layout) {
  CgroupAbilities node;
  node.unified = layout.mode() == CgroupMode::kUnified;
  if (node.unified) {
    ASSIGN_OR_RETURN(std::string names, ReadText(layout.unified_mount_point() + "/cgroup.controllers"));
    node.controllers = Split(names, ' ');
  }
  node.swap = AccountsSwap(layout);
  node.hugetlb = layout.Directory("hugetlb", "").has_value();
  for (const std::string& name : DirectoryNames("/sys/kernel/mm/hugepages")) {
    if (std::string size = PageSizeName(name); !size.empty()) node.hugepage_sizes.push_back(size);
  }
  ASSIGN_OR_RETURN(node.cpus, ReadText("/sys/devices/system/cpu/online"));
  // Kernels without NUMA have one memory node and no file that says so.
  node.mems = ReadText("/sys/devices/system/node/online").value_or(std::string("0"));
  return node;
}

Result<std::vector<int>> ParseCpuList(const std::string& text) {
  constexpr int kMax = 8192;
  Status bad = InvalidArgument("\"" + Printable(text) + "\" is no list like 0-3,7");
  std::vector<int> numbers;
  if (text.empty()) return numbers;
  for (const std::string& part : Split(text, ',')) {
    size_t dash = part.find('-');
    std::optional<uint64_t> first = ParseUint64(part.substr(0, dash));
    std::optional<uint64_t> last = dash == std::string::npos ? first : ParseUint64(part.substr(dash + 1));
    if (!first || !last || *first > *last || *last >= kMax) return bad;
    for (uint64_t number = *first; number <= *last; ++number) numbers.push_back(static_cast<int>(number));
    if (numbers.size() > kMax) return bad;
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

Status ValidateCgroupLimits(const CgroupLimits& limits, const CgroupAbilities& node, const std::string& prefix) {
  RETURN_IF_ERROR(CheckRange(prefix, "cpu_period", limits.cpu_period, 1000, 1'000'000, false));
  RETURN_IF_ERROR(CheckRange(prefix, "cpu_quota", limits.cpu_quota, 1000, INT64_MAX / 1000, true));
  RETURN_IF_ERROR(CheckRange(prefix, "cpu_shares", limits.cpu_shares, 2, 262'144, false));
  RETURN_IF_ERROR(CheckMemory(limits, prefix));
  RETURN_IF_ERROR(CheckList(prefix, "cpuset_cpus", limits.cpuset_cpus, node.cpus));
  RETURN_IF_ERROR(CheckList(prefix, "cpuset_mems", limits.cpuset_mems, node.mems));
  RETURN_IF_ERROR(CheckHugepages(limits, node, prefix));
  return CheckUnified(limits, node, prefix);
}

Status ApplyCgroupLimits(const CgroupLayout& layout, const std::string& cgroup, const CgroupLimits& limits,
                         const std::function<Status()>& confirm) {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  if (clean.empty()) return InvalidArgument("cgroup \"/\" is the root");
  ASSIGN_OR_RETURN(std::vector<Step> steps, Planner(layout, clean, limits).Plan());
  RETURN_IF_ERROR(MakeRoom(layout, clean, limits));
  Transaction transaction;
  Status status;
  for (const Step& step : steps) {
    status = transaction.Write(step);
    if (!status.ok()) break;
  }
  if (status.ok()) status = CheckSteps(steps, true);
  if (status.ok() && confirm) status = confirm();
  if (status.ok()) return {};
  return status.WithUndoError(transaction.Undo());
}

Status CheckCgroupLimits(const CgroupLayout& layout, const std::string& cgroup, const CgroupLimits& limits) {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  ASSIGN_OR_RETURN(std::vector<Step> steps, Planner(layout, clean, limits).Plan());
  return CheckSteps(steps, false);
}

}  // namespace davit::sys
