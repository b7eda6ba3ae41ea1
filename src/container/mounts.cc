#include "container/mounts.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "base/strings.h"
#include "sys/mounts.h"

namespace davit::container {
namespace {

constexpr size_t kMaxMounts = 1024;
constexpr size_t kMaxPath = 4096;

std::string Field(size_t index, std::string_view field) {
  return "mounts[" + std::to_string(index) + "]." + std::string(field);
}

// "/a//b/./c/" -> "/a/b/c"; the empty string when there is a ".." or the path is relative.
std::string CleanAbsolute(const std::string& path) {
  if (path.empty() || path[0] != '/') return {};
  std::string clean;
  for (const std::string& part : Split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return {};
    clean += "/" + part;
  }
  return clean.empty() ? "/" : clean;
}

Status ValidateMount(const Mount& mount, size_t index, bool recursive_read_only) {
  if (!mount.image.empty()) {
    return Unimplemented(Field(index, "image") + ": image volumes are not built yet");
  }
  if (mount.container_path.size() > kMaxPath || mount.host_path.size() > kMaxPath) {
    return InvalidArgument(Field(index, "container_path") + ": longer than 4096 bytes");
  }
  if (CleanAbsolute(mount.container_path).empty() || CleanAbsolute(mount.container_path) == "/") {
    return InvalidArgument(Field(index, "container_path") + " \"" + Printable(mount.container_path) +
                           "\" is not an absolute path below / without \"..\"");
  }
  if (mount.host_path.empty() || mount.host_path[0] != '/') {
    return InvalidArgument(Field(index, "host_path") + " \"" + Printable(mount.host_path) + "\" is not absolute");
  }
  if (!mount.uid_mappings.empty() || !mount.gid_mappings.empty()) {
    return Unimplemented(Field(index, "uidMappings") + ": user namespaces are not built yet");
  }
  if (mount.recursive_read_only) {
    // KEP-3857: only with readonly, private propagation and a runtime that can.
    if (!mount.readonly) return InvalidArgument(Field(index, "recursive_read_only") + " needs readonly");
    if (mount.propagation != MountPropagation::kPrivate) {
      return InvalidArgument(Field(index, "recursive_read_only") + " needs PROPAGATION_PRIVATE");
    }
    if (!recursive_read_only) {
      return InvalidArgument(Field(index, "recursive_read_only") + ": the runtime handler cannot do it");
    }
  }
  return {};
}

Result<std::string> ResolveHostPath(const Mount& mount, size_t index) {
  char resolved[PATH_MAX];
  if (::realpath(mount.host_path.c_str(), resolved) == nullptr) {
    Status status = ErrnoError(errno, Field(index, "host_path") + " " + Printable(mount.host_path, 512));
    return Status(StatusCode::kInvalidArgument, status.message());
  }
  return std::string(resolved);
}

void ReplaceMount(std::vector<oci::SpecMount>& mounts, oci::SpecMount mount) {
  mounts.erase(std::remove_if(mounts.begin(), mounts.end(),
                              [&](const oci::SpecMount& m) { return m.destination == mount.destination; }),
               mounts.end());
  mounts.push_back(std::move(mount));
}

oci::SpecMount BindFile(const std::string& source, const std::string& destination, bool readonly) {
  return {destination, "bind", source, {"rbind", "rprivate", readonly ? "ro" : "rw"}, {}, {}};
}

void AddPodFiles(std::vector<oci::SpecMount>& mounts, const ContainerSpec& spec, const PodEnvironment& pod) {
  bool readonly = spec.security.readonly_rootfs;
  if (!pod.hosts_file.empty()) mounts.push_back(BindFile(pod.hosts_file, "/etc/hosts", readonly));
  if (!pod.hostname_file.empty()) mounts.push_back(BindFile(pod.hostname_file, "/etc/hostname", readonly));
  if (!pod.resolv_conf.empty()) mounts.push_back(BindFile(pod.resolv_conf, "/etc/resolv.conf", readonly));
  if (!pod.shm_directory.empty()) {
    // A bind with flags of its own takes those of its source away: they have to be said again.
    mounts.push_back(
        {"/dev/shm", "bind", pod.shm_directory, {"rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"}, {}, {}});
  }
}

// A privileged container may change the kernel's settings: its views of them are writable.
void MakeWritableForPrivileged(std::vector<oci::SpecMount>& mounts) {
  for (oci::SpecMount& mount : mounts) {
    if (mount.destination != "/sys" && mount.destination != "/sys/fs/cgroup") continue;
    std::replace(mount.options.begin(), mount.options.end(), std::string("ro"), std::string("rw"));
  }
}

size_t Depth(const std::string& path) { return static_cast<size_t>(std::count(path.begin(), path.end(), '/')); }

Status AddRequested(MountPlan& plan, const Mount& mount, size_t index) {
  ASSIGN_OR_RETURN(std::string source, ResolveHostPath(mount, index));
  oci::SpecMount bind{CleanAbsolute(mount.container_path), "bind", source, {"rbind"}, {}, {}};
  switch (mount.propagation) {
    case MountPropagation::kPrivate:
      bind.options.push_back("rprivate");
      break;
    case MountPropagation::kHostToContainer: {
      bind.options.push_back("rslave");
      if (plan.rootfs_propagation.empty()) plan.rootfs_propagation = "rslave";
      break;
    }
    case MountPropagation::kBidirectional: {
      ASSIGN_OR_RETURN_WITH(sys::Propagation found, sys::PropagationOf(source), Field(index, "host_path"));
      if (!found.shared) {
        return InvalidArgument(Field(index, "propagation") + ": " + source +
                               " is not on a shared mount (make it one with mount --make-shared)");
      }
      bind.options.push_back("rshared");
      plan.rootfs_propagation = "rshared";
      break;
    }
  }
  bind.options.push_back(mount.recursive_read_only ? "rro" : mount.readonly ? "ro" : "rw");
  ReplaceMount(plan.mounts, std::move(bind));
  return {};
}

}  // namespace

Status ValidateMounts(const std::vector<Mount>& mounts, bool recursive_read_only) {
  if (mounts.size() > kMaxMounts) {
    return InvalidArgument("mounts: " + std::to_string(mounts.size()) + " are more than 1024");
  }
  for (size_t i = 0; i < mounts.size(); ++i) RETURN_IF_ERROR(ValidateMount(mounts[i], i, recursive_read_only));
  return {};
}

Result<MountPlan> PlanMounts(const ContainerSpec& spec, const PodEnvironment& pod) {
  MountPlan plan;
  plan.mounts = oci::DefaultMounts();
  if (spec.security.privileged) MakeWritableForPrivileged(plan.mounts);
  AddPodFiles(plan.mounts, spec, pod);
  for (size_t i = 0; i < spec.mounts.size(); ++i) RETURN_IF_ERROR(AddRequested(plan, spec.mounts[i], i));
  // A mount over /dev must not hide /dev/pts: parents first, otherwise the order given.
  std::stable_sort(plan.mounts.begin(), plan.mounts.end(), [](const oci::SpecMount& a, const oci::SpecMount& b) {
    return Depth(a.destination) < Depth(b.destination);
  });
  return plan;
}

}  // namespace davit::container
