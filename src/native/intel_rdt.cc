#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/strings.h"
#include "native/cgroups.h"
#include "sys/mounts.h"

namespace davit::native {
namespace {

// Documentation/filesystems/resctrl.rst.
Result<std::string> ResctrlMount() {
  ASSIGN_OR_RETURN(std::vector<sys::MountInfo> mounts, sys::ReadMountInfo());
  for (const sys::MountInfo& mount : mounts) {
    if (mount.fs_type == "resctrl") return mount.mount_point;
  }
  return FailedPrecondition("linux.intelRdt: this node has no resctrl file system mounted");
}

Result<std::string> GroupOf(const oci::IntelRdt& rdt, const std::string& id) {
  ASSIGN_OR_RETURN(std::string mount, ResctrlMount());
  return mount + "/" + (rdt.clos_id.empty() ? id : rdt.clos_id);
}

}  // namespace

Result<std::string> ApplyIntelRdt(const oci::IntelRdt& rdt, const std::string& id) {
  ASSIGN_OR_RETURN(std::string group, GroupOf(rdt, id));
  std::vector<std::string> schemata;
  for (const std::string& part : {rdt.l3_cache_schema, rdt.mem_bw_schema}) {
    if (!part.empty()) schemata.push_back(part);
  }
  schemata.insert(schemata.end(), rdt.schemata.begin(), rdt.schemata.end());
  bool made = ::mkdir(group.c_str(), 0755) == 0;
  if (!made && errno != EEXIST) return ErrnoError(errno, "linux.intelRdt: make " + group);
  // config-linux.md: a group that is named and has no schemata has to be there.
  if (made && !rdt.clos_id.empty() && schemata.empty()) {
    ::rmdir(group.c_str());
    return InvalidArgument(fmt::format("linux.intelRdt.closID: {} does not exist", rdt.clos_id));
  }
  for (const std::string& line : schemata) {
    Status written = sys::WriteValue(group + "/schemata", line + "\n");
    if (!written.ok()) {
      if (made) ::rmdir(group.c_str());
      return written.Annotate("linux.intelRdt schemata " + Printable(line));
    }
  }
  if (rdt.enable_monitoring) {
    const std::string monitoring = group + "/mon_groups/" + id;
    if (::mkdir(monitoring.c_str(), 0755) != 0 && errno != EEXIST) {
      return ErrnoError(errno, "linux.intelRdt.enableMonitoring: make " + monitoring);
    }
  }
  return made ? group : std::string();
}

Status JoinIntelRdt(const oci::IntelRdt& rdt, const std::string& id, pid_t pid) {
  ASSIGN_OR_RETURN(std::string group, GroupOf(rdt, id));
  RETURN_IF_ERROR(sys::WriteValue(group + "/tasks", std::to_string(pid)).Annotate("linux.intelRdt"));
  if (!rdt.enable_monitoring) return {};
  return sys::WriteValue(fmt::format("{}/mon_groups/{}/tasks", group, id), std::to_string(pid))
      .Annotate("linux.intelRdt.enableMonitoring");
}

}  // namespace davit::native
