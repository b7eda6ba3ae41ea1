#include "container/mounts.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "sys/mounts.h"

namespace davit::container {
namespace {

constexpr size_t kMaxMounts = 1024;
constexpr size_t kMaxPath = 4096;

std::string Field(size_t index, std::string_view field) {
  return "mounts[" + std::to_string(index) + "]." + std::string(field);
}

// What a mount of CRI shows: a path of the node, or an image.
Status ValidateSource(const Mount& mount, size_t index) {
  if (!mount.volume.empty()) {
    if (mount.volume_sub_path.size() > kMaxPath ||
        (!mount.volume_sub_path.empty() && CleanAbsolute("/" + mount.volume_sub_path).empty())) {
      return InvalidArgument(Field(index, "volume_sub_path") + ": it is too long, or contains \"..\"");
    }
    if (mount.image.empty() && mount.propagation == MountPropagation::kPrivate) return {};
    return InvalidArgument(Field(index, "volume") + ": not together with image, and only with PRIVATE propagation");
  }
  if (!mount.image.empty()) {
    if (!mount.host_path.empty()) return InvalidArgument(Field(index, "host_path") + ": not together with image");
    if (mount.propagation != MountPropagation::kPrivate) {
      return InvalidArgument(Field(index, "propagation") + ": only PRIVATE with image");
    }
    if (mount.image_sub_path.size() > kMaxPath) {
      return InvalidArgument(Field(index, "image_sub_path") + ": longer than 4096 bytes");
    }
    if (!mount.image_sub_path.empty() && CleanAbsolute("/" + mount.image_sub_path).empty()) {
      return InvalidArgument(Field(index, "image_sub_path") + " \"" + Printable(mount.image_sub_path) +
                             "\" contains \"..\"");
    }
    return {};
  }
  // The kubelet sets image_sub_path for the sub path of any volume, and has resolved that of others in host_path.
  if (mount.host_path.empty() || mount.host_path[0] != '/') {
    return InvalidArgument(Field(index, "host_path") + " \"" + Printable(mount.host_path) + "\" is not absolute");
  }
  return {};
}

// Runtimes write a process's security profile through /proc: what lies over it could swallow that
// (CVE-2019-16884). Below it only files that tell about the node may be replaced, as lxcfs does; the list is runc's,
// and crun has none. /proc as a whole: see CheckProcSource.
Status ValidateNotInProc(const Mount& mount, size_t index) {
  static constexpr std::array<std::string_view, 11> kHarmless = {"cpuinfo",
                                                                 "diskstats",
                                                                 "loadavg",
                                                                 "meminfo",
                                                                 "net/dev",
                                                                 "slabinfo",
                                                                 "stat",
                                                                 "swaps",
                                                                 "uptime",
                                                                 "sys/crypto/fips_enabled",
                                                                 "sys/kernel/ns_last_pid"};
  const std::string path = CleanAbsolute(mount.container_path);
  bool whole = path == "/proc" && mount.image.empty();
  if (!IsInProc(path) || whole) return {};
  std::string_view below = std::string_view(path).substr(std::min(path.size(), std::string_view("/proc/").size()));
  if (std::find(kHarmless.begin(), kHarmless.end(), below) != kHarmless.end()) return {};
  return InvalidArgument(Field(index, "container_path") + " \"" + Printable(mount.container_path) +
                         "\": nothing may be mounted over the kernel's /proc");
}

Status CheckProcSource(const oci::SpecMount& bind, size_t index) {
  if (bind.destination != "/proc") return {};
  struct statfs info {};
  if (::statfs(bind.source.c_str(), &info) != 0) return ErrnoError(errno, Field(index, "host_path"));
  if (info.f_type == PROC_SUPER_MAGIC) return {};
  return InvalidArgument(Field(index, "container_path") + " is /proc, but " + bind.source + " is no procfs");
}

Status ValidateMount(const Mount& mount, size_t index, bool recursive_read_only) {
  if (mount.container_path.size() > kMaxPath || mount.host_path.size() > kMaxPath) {
    return InvalidArgument(Field(index, "container_path") + ": longer than 4096 bytes");
  }
  if (CleanAbsolute(mount.container_path).empty() || CleanAbsolute(mount.container_path) == "/") {
    return InvalidArgument(Field(index, "container_path") + " \"" + Printable(mount.container_path) +
                           "\" is not an absolute path below / without \"..\"");
  }
  RETURN_IF_ERROR(ValidateNotInProc(mount, index));
  RETURN_IF_ERROR(ValidateSource(mount, index));
  for (const std::string& option : mount.mount_options) {
    if (option != "noexec" && option != "nodev" && option != "nosuid") {
      return InvalidArgument(Field(index, "mount_options") + ": \"" + Printable(option) +
                             "\"; only noexec, nodev and nosuid");
    }
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

Result<std::string> ResolveHostPath(const Mount& mount, size_t index, const sys::HostPaths& host_paths) {
  Result<std::string> resolved = host_paths.Resolve(mount.host_path);
  if (resolved.ok()) return resolved;
  Status status = resolved.status().Annotate(Field(index, "host_path"));
  bool unknown = status.code() == StatusCode::kDeadlineExceeded || status.code() == StatusCode::kResourceExhausted;
  return unknown ? status : InvalidArgument(status.message());
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

Status CheckPropagation(const Mount& mount, size_t index, const std::string& source) {
  if (mount.propagation == MountPropagation::kPrivate) return {};
  ASSIGN_OR_RETURN_WITH(sys::Propagation found, sys::PropagationOf(source), Field(index, "host_path"));
  bool enough = found.shared || (found.slave && mount.propagation == MountPropagation::kHostToContainer);
  if (enough) return {};
  const char* wanted = mount.propagation == MountPropagation::kBidirectional ? "shared" : "shared or slave";
  return InvalidArgument(Field(index, "propagation") + ": " + source + " is not on a " + wanted +
                         " mount (make it one with mount --make-shared)");
}

void SetPropagation(MountPlan& plan, MountPropagation propagation, oci::SpecMount& bind) {
  switch (propagation) {
    case MountPropagation::kPrivate:
      bind.options.push_back("rprivate");
      break;
    case MountPropagation::kHostToContainer:
      bind.options.push_back("rslave");
      if (plan.rootfs_propagation.empty()) plan.rootfs_propagation = "rslave";
      break;
    case MountPropagation::kBidirectional:
      bind.options.push_back("rshared");
      plan.rootfs_propagation = "rshared";
      break;
  }
}

Status AddRequested(MountPlan& plan, const Mount& mount, size_t index, const std::string& directory,
                    const sys::HostPaths& host_paths) {
  oci::SpecMount bind{CleanAbsolute(mount.container_path), "bind", "", {"rbind"}, {}, {}};
  bool image = !mount.image.empty();
  if (!image) {
    ASSIGN_OR_RETURN(bind.source, ResolveHostPath(mount, index, host_paths));
    RETURN_IF_ERROR(CheckProcSource(bind, index));
    RETURN_IF_ERROR(CheckPropagation(mount, index, bind.source));
  }
  if (image || !mount.uid_mappings.empty() || !mount.volume_sub_path.empty()) {
    bool slave = mount.propagation != MountPropagation::kPrivate;
    const std::string& sub_path = image ? mount.image_sub_path : mount.volume_sub_path;
    plan.own.push_back({index, bind.source, slave, {}, sub_path, {}});
    bind.source = OwnMountTarget(directory, index);
  }
  SetPropagation(plan, mount.propagation, bind);
  // An image is read-only whatever the request says, as with other runtimes.
  bind.options.push_back(mount.recursive_read_only ? "rro" : mount.readonly || image ? "ro" : "rw");
  bind.options.insert(bind.options.end(), mount.mount_options.begin(), mount.mount_options.end());
  ReplaceMount(plan.mounts, std::move(bind));
  return {};
}

}  // namespace

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

bool IsInProc(const std::string& path) { return path == "/proc" || path.starts_with("/proc/"); }

Status ValidateMounts(const std::vector<Mount>& mounts, bool recursive_read_only) {
  if (mounts.size() > kMaxMounts) {
    return InvalidArgument("mounts: " + std::to_string(mounts.size()) + " are more than 1024");
  }
  for (size_t i = 0; i < mounts.size(); ++i) RETURN_IF_ERROR(ValidateMount(mounts[i], i, recursive_read_only));
  return {};
}

Result<MountPlan> PlanMounts(const ContainerSpec& spec, const PodEnvironment& pod, const std::string& directory,
                             const sys::HostPaths& host_paths) {
  MountPlan plan;
  plan.mounts = oci::DefaultMounts();
  if (spec.security.privileged) MakeWritableForPrivileged(plan.mounts);
  AddPodFiles(plan.mounts, spec, pod);
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    RETURN_IF_ERROR(AddRequested(plan, spec.mounts[i], i, directory, host_paths));
  }
  SortMounts(plan.mounts);
  return plan;
}

void SortMounts(std::vector<oci::SpecMount>& mounts) {
  std::stable_sort(mounts.begin(), mounts.end(), [](const oci::SpecMount& a, const oci::SpecMount& b) {
    return Depth(a.destination) < Depth(b.destination);
  });
}

}  // namespace davit::container
