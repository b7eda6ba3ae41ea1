// Control groups, version 1, hybrid and 2, found from mountinfo and never from directory names.
//
// A cgroup is named by its path from the root of every hierarchy ("/kubepods/pod1/ctr"), the same path
// in each v1 controller, as the cgroupfs driver of the kubelet and the OCI runtimes do it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/mounts.h"

namespace davit::sys {

enum class CgroupMode { kV1, kHybrid, kUnified };

class CgroupLayout {
 public:
  // From mountinfo; kFailedPrecondition when neither a v1 controller nor a cgroup2 mount is there.
  static Result<CgroupLayout> Detect();
  static Result<CgroupLayout> FromMounts(const std::vector<MountInfo>& mounts);

  // kUnified: cgroup2 and no v1 controller. kHybrid: v1 controllers, and cgroup2 mounted somewhere.
  [[nodiscard]] CgroupMode mode() const { return mode_; }
  // Mount point of a v1 controller ("memory", "name=systemd"), or nullopt.
  [[nodiscard]] std::optional<std::string> V1MountPoint(const std::string& controller) const;
  [[nodiscard]] const std::string& unified_mount_point() const { return unified_; }  // empty: not mounted
  // Directory of `cgroup` for the controller, whichever version holds it.
  [[nodiscard]] std::optional<std::string> Directory(const std::string& controller, const std::string& cgroup) const;
  // All distinct directories of `cgroup`, one for each hierarchy.
  [[nodiscard]] std::vector<std::string> Directories(const std::string& cgroup) const;
  // File whose counter tells OOM kills: memory.oom_control (v1) or memory.events (v2) of `cgroup`.
  [[nodiscard]] std::string OomFile(const std::string& cgroup) const;

 private:
  CgroupMode mode_ = CgroupMode::kV1;
  std::map<std::string, std::string> v1_;  // controller -> mount point
  std::string unified_;
};

// A name from outside ("/kubepods.slice/pod1"): absolute, no "..", no empty or "." part, at most 4096
// bytes; returns it without a trailing slash ("" for "/"). kInvalidArgument naming it otherwise.
Result<std::string> CleanCgroupPath(const std::string& path);

// mkdir -p in every hierarchy (v1 cpuset: cpus and mems are copied down from the parent, or it takes no
// process; v2: controllers enabled in subtree_control on the way, as far as they are there).
// Returns whether any directory was made.
Result<bool> CreateCgroup(const CgroupLayout& layout, const std::string& cgroup);
// Whether the cgroup exists in any hierarchy.
bool CgroupExists(const CgroupLayout& layout, const std::string& cgroup);
Status AddProcess(const CgroupLayout& layout, const std::string& cgroup, pid_t pid);
// Processes in the cgroup and below it, of the hierarchy that has most of them.
Result<std::vector<pid_t>> ListProcesses(const CgroupLayout& layout, const std::string& cgroup);
// Kills everything in it (cgroup.kill on v2; on v1 SIGKILL to each until none is left) and waits.
Status KillCgroup(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline);
// rmdir of the cgroup and its descendants in every hierarchy; OK when gone. kFailedPrecondition while
// processes are in it.
Status RemoveCgroup(const CgroupLayout& layout, const std::string& cgroup);

}  // namespace davit::sys
