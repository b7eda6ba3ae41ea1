#include "sys/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>

#include "base/strings.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;
constexpr int kMaxDepth = 128;

// Everything else in a v1 mount's options is a mount option and no controller.
constexpr std::array<std::string_view, 14> kV1Controllers = {"cpu",        "cpuacct", "cpuset", "memory",  "devices",
                                                             "freezer",    "blkio",   "pids",   "net_cls", "net_prio",
                                                             "perf_event", "hugetlb", "rdma",   "misc"};

bool IsDirectory(const std::string& path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// For the functions that make, kill and remove: the root cgroup is the whole machine.
Result<std::string> CleanNonRoot(const std::string& cgroup) {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  if (clean.empty()) return InvalidArgument("cgroup \"/\" is the root");
  return clean;
}

std::vector<std::string> ChildDirectories(const std::string& directory) {
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  std::vector<std::string> children;
  std::unique_ptr<DIR, Close> dir(::opendir(directory.c_str()));
  if (!dir) return children;  // gone meanwhile
  while (dirent* entry = ::readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    std::string path = directory + "/" + std::string(name);
    if (entry->d_type == DT_DIR || (entry->d_type == DT_UNKNOWN && IsDirectory(path))) children.push_back(path);
  }
  return children;
}

// The cgroup and all below it, parents first.
void CollectTree(const std::string& directory, int depth, std::vector<std::string>& tree) {
  tree.push_back(directory);
  if (depth == 0) return;
  for (const std::string& child : ChildDirectories(directory)) CollectTree(child, depth - 1, tree);
}

std::vector<std::string> Tree(const std::string& directory) {
  std::vector<std::string> tree;
  CollectTree(directory, kMaxDepth, tree);
  return tree;
}

// Sorted, each once. A cgroup that has gone meanwhile has none.
Result<std::vector<pid_t>> ProcessesBelow(const std::string& directory) {
  std::vector<pid_t> pids;
  for (const std::string& one : Tree(directory)) {
    UniqueFd fd(::open((one + "/cgroup.procs").c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) {
      if (errno == ENOENT || errno == ENODEV) continue;
      return ErrnoError(errno, "open " + one + "/cgroup.procs");
    }
    Result<std::string> text = ReadAll(fd.get(), kMaxFileBytes);
    if (text.code() == StatusCode::kResourceExhausted) return text.status().Annotate(one + "/cgroup.procs");
    if (!text.ok()) continue;  // ENODEV: removed after the open; EOPNOTSUPP: threaded, its domain lists them
    for (const std::string& line : Split(Trim(*text), '\n')) {
      // 0: a process outside our pid namespace.
      if (auto pid = ParseUint64(line); pid && *pid > 0) pids.push_back(static_cast<pid_t>(*pid));
    }
  }
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

// Of all hierarchies: what must be dead before the cgroup can go.
Result<std::vector<pid_t>> ProcessesAnywhere(const CgroupLayout& layout, const std::string& cgroup) {
  std::vector<pid_t> all;
  for (const std::string& directory : layout.Directories(cgroup)) {
    if (!IsDirectory(directory)) continue;
    ASSIGN_OR_RETURN(std::vector<pid_t> pids, ProcessesBelow(directory));
    all.insert(all.end(), pids.begin(), pids.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// As far as it can be: what is not frozen, or gone, stays as it is.
void ThawTree(const std::string& directory) {
  for (const std::string& one : Tree(directory)) {
    Result<std::string> frozen = ReadFile(one + "/freezer.self_freezing", 16);
    if (frozen.ok() && Trim(*frozen) == "1") IgnoreError(WriteValue(one + "/freezer.state", "THAWED"));
  }
}

// The kernel offers no event for "empty" on v1; the waits here are a few milliseconds after SIGKILL.
class Pause {
 public:
  void Wait() {
    timespec time = {0, millis_ * 1000000L};
    ::nanosleep(&time, nullptr);
    millis_ = std::min(millis_ * 2, 20L);
  }

 private:
  long millis_ = 1;
};

// A new v1 cpuset has neither cpus nor memory nodes and takes no process until it has (cpuset(7)).
Status CopyCpuset(const std::string& parent, const std::string& child) {
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    ASSIGN_OR_RETURN(std::string own, ReadFile(child + file, kMaxFileBytes));
    if (!Trim(own).empty()) continue;
    ASSIGN_OR_RETURN(std::string inherited, ReadFile(parent + file, kMaxFileBytes));
    RETURN_IF_ERROR(WriteValue(child + file, Trim(inherited)));
  }
  return {};
}

// Best effort: a controller that cannot be handed down (EBUSY, delegation) is missed by who needs it.
void EnableControllers(const std::string& parent) {
  Result<std::string> available = ReadFile(parent + "/cgroup.controllers", kMaxFileBytes);
  Result<std::string> enabled = ReadFile(parent + "/cgroup.subtree_control", kMaxFileBytes);
  if (!available.ok() || !enabled.ok()) return;
  std::vector<std::string> have = Split(Trim(*enabled), ' ');
  std::string wanted;
  for (const std::string& controller : Split(Trim(*available), ' ')) {
    if (controller.empty() || std::find(have.begin(), have.end(), controller) != have.end()) continue;
    wanted += (wanted.empty() ? "+" : " +") + controller;
  }
  if (wanted.empty()) return;
  const std::string file = parent + "/cgroup.subtree_control";
  if (WriteValue(file, wanted).ok()) return;
  for (const std::string& one : Split(wanted, ' ')) IgnoreError(WriteValue(file, one));
}

struct Hierarchy {
  std::string mount_point;
  bool cpuset = false;  // a v1 cpuset
  bool unified = false;
};

std::vector<Hierarchy> Hierarchies(const CgroupLayout& layout) {
  std::vector<Hierarchy> all;
  std::optional<std::string> cpuset = layout.V1MountPoint("cpuset");
  for (std::string directory : layout.Directories("")) {
    bool unified = directory == layout.unified_mount_point();
    all.push_back({directory, cpuset == directory, unified});
  }
  return all;
}

// mkdir -p of one hierarchy; every directory made is appended to `made`.
Status CreateIn(const Hierarchy& hierarchy, const std::string& cgroup, std::vector<std::string>& made) {
  std::string directory = hierarchy.mount_point;
  for (const std::string& part : Split(std::string_view(cgroup).substr(1), '/')) {
    std::string parent = directory;
    directory += "/" + part;
    if (hierarchy.unified) EnableControllers(parent);
    if (::mkdir(directory.c_str(), 0755) == 0) {
      made.push_back(directory);
    } else if (errno != EEXIST) {
      return ErrnoError(errno, "make cgroup " + directory);
    }
    if (hierarchy.cpuset) RETURN_IF_ERROR(CopyCpuset(parent, directory));
  }
  return {};
}

Status RemoveDirectories(const std::string& directory, Deadline deadline) {
  Pause pause;
  for (;;) {
    int err = 0;
    std::string busy;
    std::vector<std::string> tree = Tree(directory);
    for (auto it = tree.rbegin(); it != tree.rend(); ++it) {
      if (::rmdir(it->c_str()) == 0 || errno == ENOENT) continue;
      err = errno;
      busy = *it;
    }
    if (err == 0) return {};
    // v1 says EBUSY for a moment after the last process has been reaped.
    if (err != EBUSY || deadline.expired()) return ErrnoError(err, "remove cgroup " + busy);
    pause.Wait();
  }
}

}  // namespace

Result<CgroupLayout> CgroupLayout::Detect() {
  ASSIGN_OR_RETURN(std::vector<MountInfo> mounts, ReadMountInfo());
  return FromMounts(mounts);
}

Result<CgroupLayout> CgroupLayout::FromMounts(const std::vector<MountInfo>& mounts) {
  CgroupLayout layout;
  // Bind mounts of a part of a hierarchy (containers' own) have another root: second choice.
  for (bool whole : {true, false}) {
    for (const MountInfo& mount : mounts) {
      if ((mount.root == "/") != whole) continue;
      if (mount.fs_type == "cgroup2" && layout.unified_.empty()) layout.unified_ = mount.mount_point;
      if (mount.fs_type != "cgroup") continue;
      for (const std::string& option : Split(mount.super_options, ',')) {
        bool known = std::find(kV1Controllers.begin(), kV1Controllers.end(), option) != kV1Controllers.end();
        if (known || option.starts_with("name=")) layout.v1_.try_emplace(option, mount.mount_point);
      }
    }
  }
  if (layout.v1_.empty() && layout.unified_.empty()) return FailedPrecondition("no cgroup filesystem is mounted");
  layout.mode_ = layout.v1_.empty()        ? CgroupMode::kUnified
                 : layout.unified_.empty() ? CgroupMode::kV1
                                           : CgroupMode::kHybrid;
  return layout;
}

std::optional<std::string> CgroupLayout::V1MountPoint(const std::string& controller) const {
  auto it = v1_.find(controller);
  if (it == v1_.end()) return std::nullopt;
  return it->second;
}

std::optional<std::string> CgroupLayout::Directory(const std::string& controller, const std::string& cgroup) const {
  if (auto mount_point = V1MountPoint(controller)) return *mount_point + cgroup;
  if (unified_.empty()) return std::nullopt;
  if (mode_ == CgroupMode::kUnified) return unified_ + cgroup;
  Result<std::string> controllers = ReadFile(unified_ + "/cgroup.controllers", kMaxFileBytes);
  if (!controllers.ok()) return std::nullopt;
  std::vector<std::string> names = Split(Trim(*controllers), ' ');
  if (std::find(names.begin(), names.end(), controller) == names.end()) return std::nullopt;
  return unified_ + cgroup;
}

std::vector<std::string> CgroupLayout::Directories(const std::string& cgroup) const {
  std::vector<std::string> directories;
  for (const auto& [controller, mount_point] : v1_) directories.push_back(mount_point + cgroup);
  if (!unified_.empty()) directories.push_back(unified_ + cgroup);
  std::sort(directories.begin(), directories.end());
  directories.erase(std::unique(directories.begin(), directories.end()), directories.end());
  return directories;
}

std::string CgroupLayout::OomFile(const std::string& cgroup) const {
  if (auto memory = V1MountPoint("memory")) return *memory + cgroup + "/memory.oom_control";
  return unified_ + cgroup + "/memory.events";
}

Result<std::string> CleanCgroupPath(const std::string& path) {
  auto bad = [&path](const char* why) { return InvalidArgument("cgroup \"" + Printable(path) + "\" " + why); };
  if (path.empty() || path.front() != '/') return bad("is not absolute");
  if (path.size() > 4096) return bad("is longer than 4096 bytes");
  if (path.find('\0') != std::string::npos || path.find('\n') != std::string::npos)
    return bad("has a NUL or a newline");
  std::string clean = path;
  if (clean.back() == '/') clean.pop_back();
  if (clean.empty()) return clean;
  for (const std::string& part : Split(std::string_view(clean).substr(1), '/')) {
    if (part.empty() || part == "." || part == "..") return bad("has an empty, \".\" or \"..\" part");
  }
  return clean;
}

Result<bool> CreateCgroup(const CgroupLayout& layout, const std::string& cgroup) {
  ASSIGN_OR_RETURN(std::string clean, CleanNonRoot(cgroup));
  std::vector<std::string> made;
  for (const Hierarchy& hierarchy : Hierarchies(layout)) {
    Status created = CreateIn(hierarchy, clean, made);
    if (created.ok()) continue;
    for (auto it = made.rbegin(); it != made.rend(); ++it) ::rmdir(it->c_str());
    return created;
  }
  return !made.empty();
}

bool CgroupExists(const CgroupLayout& layout, const std::string& cgroup) {
  Result<std::string> clean = CleanCgroupPath(cgroup);
  if (!clean.ok()) return false;
  std::vector<std::string> directories = layout.Directories(*clean);
  return std::any_of(directories.begin(), directories.end(), IsDirectory);
}

Status AddProcess(const CgroupLayout& layout, const std::string& cgroup, pid_t pid) {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  for (const std::string& directory : layout.Directories(clean)) {
    RETURN_IF_ERROR(
        WriteValue(directory + "/cgroup.procs", std::to_string(pid)).Annotate("add process to cgroup " + clean));
  }
  return {};
}

Result<std::vector<pid_t>> ListProcesses(const CgroupLayout& layout, const std::string& cgroup) {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  bool found = false;
  std::vector<pid_t> most;
  for (const std::string& directory : layout.Directories(clean)) {
    if (!IsDirectory(directory)) continue;
    found = true;
    ASSIGN_OR_RETURN(std::vector<pid_t> pids, ProcessesBelow(directory));
    if (pids.size() > most.size()) most = std::move(pids);
  }
  if (!found) return NotFound("cgroup " + clean + " is not there");
  return most;
}

Status KillCgroup(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline) {
  ASSIGN_OR_RETURN(std::string clean, CleanNonRoot(cgroup));
  if (!layout.unified_mount_point().empty()) {
    // Since 5.14, and atomic against forks; where it is missing the loop does the same more slowly.
    UniqueFd kill(::open((layout.unified_mount_point() + clean + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
    if (kill.valid()) IgnoreError(WriteAll(kill.get(), "1"));
  }
  Pause pause;
  for (;;) {
    ASSIGN_OR_RETURN(std::vector<pid_t> pids, ProcessesAnywhere(layout, clean));
    if (pids.empty()) return {};
    for (pid_t pid : pids) {
      if (pid == ::getpid() || pid == 1) {
        return FailedPrecondition("kill cgroup " + clean + ": process " + std::to_string(pid) + " is in it");
      }
    }
    for (pid_t pid : pids) ::kill(pid, SIGKILL);
    // On version 1 what is frozen does not die before it goes on.
    if (std::optional<std::string> freezer = layout.V1MountPoint("freezer")) ThawTree(*freezer + clean);
    if (deadline.expired()) {
      return DeadlineExceeded("kill cgroup " + clean + ": " + std::to_string(pids.size()) + " processes are left");
    }
    pause.Wait();
  }
}

Status RemoveCgroup(const CgroupLayout& layout, const std::string& cgroup) {
  ASSIGN_OR_RETURN(std::string clean, CleanNonRoot(cgroup));
  constexpr std::chrono::milliseconds kSettle{200};  // for processes that are just leaving
  constexpr std::chrono::seconds kLimit{2};
  Deadline settle = Deadline::After(kSettle);
  Pause pause;
  for (;;) {
    ASSIGN_OR_RETURN(std::vector<pid_t> pids, ProcessesAnywhere(layout, clean));
    if (pids.empty()) break;
    if (settle.expired()) {
      return FailedPrecondition("remove cgroup " + clean + ": " + std::to_string(pids.size()) +
                                " processes are in it, one is " + std::to_string(pids.front()));
    }
    pause.Wait();
  }
  Deadline deadline = Deadline::After(kLimit);
  for (const std::string& directory : layout.Directories(clean)) {
    if (IsDirectory(directory)) RETURN_IF_ERROR(RemoveDirectories(directory, deadline));
  }
  return {};
}

}  // namespace davit::sys
