#include "native/cgroups.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/strings.h"
#include "native/resource_files.h"
#include "sys/systemd_names.h"

namespace davit::native {
namespace {

inline constexpr size_t kMaxFileBytes = 1 << 16;

Result<CgroupPlace> SystemdPlace(const std::string& path, const std::string& id) {
  std::string text = path.empty() ? "system.slice:davit:" + id : path;
  std::vector<std::string> parts = Split(text, ':');
  if (parts.size() != 3) {
    return InvalidArgument(
        fmt::format("linux.cgroupsPath: \"{}\": expected slice:prefix:name with the systemd driver", Printable(path)));
  }
  std::string slice = parts[0].empty() ? "system.slice" : parts[0];
  ASSIGN_OR_RETURN_WITH(std::string parent, sys::SlicePath(slice), "linux.cgroupsPath");
  std::string unit = parts[2];
  if (!sys::IsSlice(unit)) unit = (parts[1].empty() ? "" : parts[1] + "-") + unit + ".scope";
  if (unit.find('/') != std::string::npos) return InvalidArgument("linux.cgroupsPath: a name in it holds a slash");
  return CgroupPlace{parent + "/" + unit, true};
}

}  // namespace

Result<CgroupPlace> CgroupPlaceOf(const std::string& cgroups_path, const std::string& id, bool systemd) {
  if (systemd) return SystemdPlace(cgroups_path, id);
  std::string path = cgroups_path.empty() ? id : cgroups_path;
  if (path[0] != '/') path.insert(0, "/");
  ASSIGN_OR_RETURN_WITH(std::string clean, sys::CleanCgroupPath(path), "linux.cgroupsPath");
  // The root is the whole machine: its limits are not a container's, nor is what runs there.
  if (clean.empty()) return InvalidArgument("linux.cgroupsPath: \"/\" is the root of all cgroups");
  return CgroupPlace{clean, false};
}

Status CheckCgroupIsFree(const sys::CgroupLayout& layout, const CgroupPlace& place) {
  if (!sys::CgroupExists(layout, place.cgroup)) return {};
  ASSIGN_OR_RETURN(std::vector<pid_t> pids, sys::ListProcesses(layout, place.cgroup));
  if (pids.empty()) return {};
  return FailedPrecondition(
      fmt::format("cgroup {} is not empty: process {} and {} more are in it", place.cgroup, pids[0], pids.size() - 1));
}

CgroupEntry CgroupDoors::entry() const {
  CgroupEntry entry;
  entry.unified = unified.get();
  for (const sys::UniqueFd& fd : tasks) entry.v1_tasks.push_back(fd.get());
  return entry;
}

Result<CgroupDoors> OpenCgroupDoors(const sys::CgroupLayout& layout, const std::string& cgroup) {
  CgroupDoors doors;
  const std::string unified = layout.unified_mount_point().empty() ? "" : layout.unified_mount_point() + cgroup;
  for (const std::string& directory : layout.Directories(cgroup)) {
    if (directory == unified) {
      ASSIGN_OR_RETURN(doors.unified, sys::Open(directory, O_DIRECTORY | O_RDONLY));
    } else {
      ASSIGN_OR_RETURN(doors.tasks.emplace_back(), sys::Open(directory + "/tasks", O_WRONLY));
    }
  }
  return doors;
}

Status ApplyResources(const sys::CgroupLayout& layout, const std::string& cgroup, const oci::Resources& resources,
                      bool with_devices) {
  // First what may be refused because of what runs already, all or nothing; the rest cannot be.
  RETURN_IF_ERROR(sys::ApplyCgroupLimits(layout, cgroup, CommonLimits(resources)).Annotate("linux.resources"));
  RETURN_IF_ERROR(WriteOtherLimits(layout, cgroup, resources));
  return with_devices ? WriteDeviceRules(layout, cgroup, resources.devices) : Status();
}

}  // namespace davit::native
