#include "native/namespaces.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/strings.h"

namespace davit::native {
namespace {

struct Kind {
  std::string_view name;
  uint64_t flag;
};
constexpr std::array<Kind, 8> kKinds = {{{"pid", CLONE_NEWPID},
                                         {"network", CLONE_NEWNET},
                                         {"mount", CLONE_NEWNS},
                                         {"ipc", CLONE_NEWIPC},
                                         {"uts", CLONE_NEWUTS},
                                         {"user", CLONE_NEWUSER},
                                         {"cgroup", CLONE_NEWCGROUP},
                                         {"time", CLONE_NEWTIME}}};

const Kind* FindKind(std::string_view name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

std::string NameOf(uint64_t flag) {
  for (const Kind& kind : kKinds) {
    if (kind.flag == flag) return std::string(kind.name);
  }
  return "?";
}

// setns(2) into the user namespace that one is in already is an error of the kernel's.
bool IsOwnUserNamespace(int fd) {
  struct stat theirs;
  struct stat ours;
  return ::fstat(fd, &theirs) == 0 && ::stat("/proc/self/ns/user", &ours) == 0 && theirs.st_dev == ours.st_dev &&
         theirs.st_ino == ours.st_ino;
}

Result<sys::UniqueFd> OpenNamespace(const Kind& kind, const std::string& path) {
  // Not blocking: a path that is a FIFO must not hold us.
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  int type = ::ioctl(fd.get(), NS_GET_NSTYPE);
  if (type < 0 || static_cast<uint64_t>(type) != kind.flag) {
    return InvalidArgument(Printable(path) + " is no " + std::string(kind.name) + " namespace");
  }
  return fd;
}

Status Join(const NamespaceJoin& join) {
  if (::setns(join.fd.get(), static_cast<int>(join.kind)) == 0) return {};
  return ErrnoError(errno, "join " + NameOf(join.kind) + " namespace " + Printable(join.path));
}

std::string MapText(const std::vector<oci::IdMapping>& mappings) {
  std::string text;
  for (const oci::IdMapping& mapping : mappings) {
    text += std::to_string(mapping.container_id) + " " + std::to_string(mapping.host_id) + " " +
            std::to_string(mapping.size) + "\n";
  }
  return text;
}

}  // namespace

bool NamespacePlan::Joins(uint64_t kind) const {
  return std::any_of(joins.begin(), joins.end(), [kind](const NamespaceJoin& join) { return join.kind == kind; });
}

bool NamespacePlan::NeedsBetween() const {
  return Joins(CLONE_NEWPID) || Joins(CLONE_NEWUSER) || new_time || (Creates(CLONE_NEWUSER) && !joins.empty());
}

Result<NamespacePlan> PlanNamespaces(const oci::Linux& linux_part) {
  NamespacePlan plan;
  for (size_t i = 0; i < linux_part.namespaces.size(); ++i) {
    const oci::Namespace& wanted = linux_part.namespaces[i];
    std::string where = "linux.namespaces[" + std::to_string(i) + "]";
    const Kind* kind = FindKind(wanted.type);
    if (kind == nullptr) return InvalidArgument(where + ": type \"" + Printable(wanted.type) + "\" is not known");
    if (plan.Has(kind->flag)) return InvalidArgument(where + ": a second " + wanted.type + " namespace");
    if (!wanted.path.empty()) {
      ASSIGN_OR_RETURN_WITH(sys::UniqueFd fd, OpenNamespace(*kind, wanted.path), where);
      if (kind->flag == CLONE_NEWUSER && IsOwnUserNamespace(fd.get())) continue;
      plan.joins.push_back({kind->flag, wanted.path, std::move(fd)});
    } else if (kind->flag == CLONE_NEWCGROUP) {
      plan.new_cgroup = true;
    } else if (kind->flag == CLONE_NEWTIME) {
      plan.new_time = true;
    } else {
      plan.create |= kind->flag;
    }
  }
  return plan;
}

Status JoinNamespaces(const NamespacePlan& plan) {
  std::vector<const NamespaceJoin*> refused;
  const NamespaceJoin* user = nullptr;
  for (const NamespaceJoin& join : plan.joins) {
    if (join.kind == CLONE_NEWUSER) {
      user = &join;
      continue;
    }
    Status joined = Join(join);
    if (joined.code() != StatusCode::kPermissionDenied) RETURN_IF_ERROR(joined);
    if (!joined.ok()) refused.push_back(&join);
  }
  if (user != nullptr) RETURN_IF_ERROR(Join(*user));
  for (const NamespaceJoin* join : refused) RETURN_IF_ERROR(Join(*join));
  return {};
}

Status MakeTimeNamespace(const Procfs& procfs, const std::map<std::string, oci::TimeOffset>& offsets) {
  if (::unshare(CLONE_NEWTIME) != 0) return ErrnoError(errno, "make a time namespace");
  for (const auto& [clock, offset] : offsets) {
    std::string line = clock + " " + std::to_string(offset.secs) + " " + std::to_string(offset.nanosecs) + "\n";
    RETURN_IF_ERROR(procfs.WriteOwn("timens_offsets", line).Annotate("linux.timeOffsets." + Printable(clock)));
  }
  return {};
}

Status WriteIdMaps(const Procfs& procfs, pid_t pid, const oci::Linux& linux_part) {
  std::string directory = std::to_string(pid) + "/";
  RETURN_IF_ERROR(procfs.Write(directory + "uid_map", MapText(linux_part.uid_mappings)).Annotate("linux.uidMappings"));
  std::string groups = MapText(linux_part.gid_mappings);
  Status written = procfs.Write(directory + "gid_map", groups);
  if (written.code() == StatusCode::kPermissionDenied) {
    // Without CAP_SETGID of the node a map is for those only who give up setgroups(2) (user_namespaces(7)).
    RETURN_IF_ERROR(procfs.Write(directory + "setgroups", "deny"));
    written = procfs.Write(directory + "gid_map", groups);
  }
  return written.Annotate("linux.gidMappings");
}

}  // namespace davit::native
