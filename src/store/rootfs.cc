#include "store/rootfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "store/directory.h"
#include "store/tree_usage.h"
#include "sys/atomic_file.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

constexpr size_t kMaxLayers = 500;  // OVL_MAX_STACK of the kernel

// mkdir with exactly this mode whatever the umask; a directory that is there keeps its own.
Status MakeDirectory(const std::string& path, unsigned mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    if (::chmod(path.c_str(), mode) == 0) return {};
    return ErrnoError(errno, fmt::format("chmod {}", path));
  }
  if (errno == EEXIST) return {};
  return ErrnoError(errno, fmt::format("create {}", path));
}

Status CheckMount(const RootfsMount& mount) {
  if (mount.target.empty() || mount.target.front() != '/') {
    return InvalidArgument(fmt::format("target \"{}\" is not absolute", Printable(mount.target)));
  }
  if (mount.layers.size() > kMaxLayers) {
    return InvalidArgument(fmt::format("{} layers are more than overlayfs' {}", mount.layers.size(), kMaxLayers));
  }
  for (const std::string& layer : mount.layers) {
    struct stat info {};
    if (::lstat(layer.c_str(), &info) != 0) return ErrnoError(errno, fmt::format("layer {}", layer));
    if (!S_ISDIR(info.st_mode)) return FailedPrecondition(fmt::format("layer {} is not a directory", layer));
  }
  return {};
}

// An id of a layer on the node. One that the map lacks becomes root's: it would be nobody's otherwise.
uint32_t MapId(const RootfsMount& mount, uint32_t id) {
  if (mount.user_namespace.empty()) return id;
  return mount.ids.outside + (id < mount.ids.length ? id : 0);
}

// The root of an overlay shows the upper directory's owner and mode, and an image may want others for its "/"
// (0555, say): the topmost layer that names it has the image's last word on them.
Status CopyOwnerAndMode(const std::string& from, const std::string& to, const RootfsMount& mount) {
  struct stat info {};
  if (::stat(from.c_str(), &info) != 0) return ErrnoError(errno, fmt::format("stat layer {}", from));
  if (::chown(to.c_str(), MapId(mount, info.st_uid), MapId(mount, info.st_gid)) != 0)
    return ErrnoError(errno, fmt::format("chown {}", to));
  if (::chmod(to.c_str(), info.st_mode & 07777) != 0) return ErrnoError(errno, fmt::format("chmod {}", to));
  return {};
}

// Whether an option list ("rw,upperdir=/a/b,workdir=/a/c") names this path as a value.
bool NamesPath(const std::string& options, const std::string& path) {
  for (const std::string& option : Split(options, ',')) {
    size_t equals = option.find('=');
    if (equals == std::string::npos) continue;
    for (const std::string& value : Split(option.substr(equals + 1), ':')) {
      if (value == path) return true;
    }
  }
  return false;
}

}  // namespace

struct Rootfs::State {
  explicit State(Trash& trash_in) : trash(trash_in) {}

  std::string dir;  // <root>/containers
  Trash& trash;
  RootfsOptions options;

  struct Measured {
    std::optional<WritableUsage> last;
    std::optional<TreeWalk> walk;  // begun and not at its end
    bool walking = false;
  };
  mutable std::mutex mutex;  // held for memory only
  std::map<ContainerId, Measured> usage;

  std::string DirOf(const ContainerId& id) const { return dir + "/" + id.str(); }
  std::string UpperOf(const ContainerId& id) const { return DirOf(id) + "/upper"; }
  std::string WorkOf(const ContainerId& id) const { return DirOf(id) + "/work"; }
  std::string EmptyOf(const ContainerId& id) const { return DirOf(id) + "/empty"; }

  // True when the target holds this container's overlay, false when nothing is mounted there.
  Result<bool> IsMounted(const ContainerId& id, const std::string& target) const {
    ASSIGN_OR_RETURN(bool is_mount, sys::IsMountPoint(target));
    if (!is_mount) return false;
    ASSIGN_OR_RETURN(std::vector<sys::MountInfo> mounts, sys::ReadMountInfo());
    // The last one at a mount point is the one that is seen.
    for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount) {
      if (mount->mount_point != target) continue;
      if (mount->fs_type == "overlay" &&
          (NamesPath(mount->super_options, UpperOf(id)) || NamesPath(mount->super_options, EmptyOf(id)))) {
        return true;
      }
      return FailedPrecondition(
          fmt::format("{} holds another mount ({} of {})", target, mount->fs_type, mount->source));
    }
    return FailedPrecondition(fmt::format("{} holds another mount", target));
  }

  // overlayfs refuses a work directory of an earlier volatile mount, because after a crash the upper
  // directory may lack data. A container's files have no such claim across a crash, and after a clean
  // unmount nothing is missing; kernel: Documentation/filesystems/overlayfs.rst, "Volatile mount".
  Status ForgetVolatileMount(const ContainerId& id) {
    struct stat info {};
    std::string mark = WorkOf(id) + "/work/incompat/volatile";
    if (::lstat(mark.c_str(), &info) != 0) return {};
    return trash.Discard(WorkOf(id));
  }

  Result<sys::OverlayOptions> Prepare(const ContainerId& id, const RootfsMount& mount) {
    sys::OverlayOptions overlay;
    overlay.lower = mount.layers;
    overlay.context = mount.context;
    RETURN_IF_ERROR(MakeDirectory(DirOf(id), 0700));
    FaultPoint("store.rootfs.mount.directory");
    // At least one lowerdir with an upperdir, at least two without; and this one tells whose it is.
    if (mount.read_only || mount.layers.empty()) {
      RETURN_IF_ERROR(MakeDirectory(EmptyOf(id), 0755));
      overlay.lower.push_back(EmptyOf(id));
    }
    if (mount.read_only) {
      if (overlay.lower.size() == 1) {
        std::string second = DirOf(id) + "/empty2";
        RETURN_IF_ERROR(MakeDirectory(second, 0755));
        overlay.lower.push_back(second);
      }
      overlay.is_volatile = false;  // there is nothing to sync, and the option wants an upperdir
      return overlay;
    }
    RETURN_IF_ERROR(MakeDirectory(UpperOf(id), 0755));
    if (!mount.layers.empty()) RETURN_IF_ERROR(CopyOwnerAndMode(RootLayer(mount.layers), UpperOf(id), mount));
    RETURN_IF_ERROR(ForgetVolatileMount(id));
    RETURN_IF_ERROR(MakeDirectory(WorkOf(id), 0700));
    overlay.upper = UpperOf(id);
    overlay.work = WorkOf(id);
    return overlay;
  }

  Status Mount(const ContainerId& id, const RootfsMount& mount) {
    RETURN_IF_ERROR(CheckMount(mount));
    RETURN_IF_ERROR(sys::MakeDirectories(mount.target, 0755));
    ASSIGN_OR_RETURN(bool mounted, IsMounted(id, mount.target));
    if (mounted) return {};
    ASSIGN_OR_RETURN(sys::OverlayOptions overlay, Prepare(id, mount));
    FaultPoint("store.rootfs.mount.prepared");
    sys::UniqueFd user_namespace;  // until the mount is made
    if (!mount.user_namespace.empty()) {
      ASSIGN_OR_RETURN(user_namespace, sys::Open(mount.user_namespace, O_RDONLY));
      overlay.user_namespace = user_namespace.get();
    }
    RETURN_IF_ERROR(sys::MountOverlay(overlay, mount.target));
    FaultPoint("store.rootfs.mount.mounted");
    return {};
  }
};

Rootfs::Rootfs(std::unique_ptr<State> state) : state_(std::move(state)) {}
Rootfs::~Rootfs() = default;

Result<std::unique_ptr<Rootfs>> Rootfs::Open(const std::string& root, Trash& trash, RootfsOptions options) {
  auto state = std::make_unique<State>(trash);
  state->dir = root + "/containers";
  state->options = std::move(options);
  RETURN_IF_ERROR(sys::MakeDirectories(root, 0700));
  RETURN_IF_ERROR(sys::MakeDirectories(state->dir, 0700));
  return std::unique_ptr<Rootfs>(new Rootfs(std::move(state)));
}

Status Rootfs::Mount(const ContainerId& id, const RootfsMount& mount) {
  if (id.empty()) return InvalidArgument("mount rootfs: empty container id");
  return state_->Mount(id, mount).Annotate(fmt::format("mount rootfs of {}", id.Short()));
}

Status Rootfs::Unmount(const ContainerId& id, const std::string& target) {
  Status unmounted = sys::Unmount(target);
  FaultPoint("store.rootfs.unmount.unmounted");
  return unmounted.Annotate(fmt::format("unmount rootfs of {}", id.Short()));
}

Status Rootfs::RemoveWritable(const ContainerId& id) {
  if (id.empty()) return InvalidArgument("remove writable layer: empty container id");
  RETURN_IF_ERROR(
      state_->trash.Discard(state_->DirOf(id)).Annotate(fmt::format("remove writable layer of {}", id.Short())));
  std::lock_guard guard(state_->mutex);
  state_->usage.erase(id);
  return {};
}

Result<WritableUsage> Rootfs::Usage(const ContainerId& id) {
  if (id.empty()) return InvalidArgument("usage of writable layer: empty container id");
  std::optional<TreeWalk> walk;
  std::optional<WritableUsage> before;
  {
    std::lock_guard guard(state_->mutex);
    State::Measured& measured = state_->usage[id];
    before = measured.last;
    bool fresh =
        before && !before->unfinished && state_->options.now() - before->measured_at < state_->options.usage_max_age;
    if (before && (fresh || measured.walking)) return *before;
    walk = std::exchange(measured.walk, std::nullopt);
    measured.walking = true;
  }
  WritableUsage usage;
  usage.measured_at = state_->options.now();
  usage.wall_nanos = WallNanos();
  Status begun;
  if (!walk) {
    Result<TreeWalk> begin = TreeWalk::Begin(state_->UpperOf(id));
    begun = begin.status();
    if (begin.ok()) walk = std::move(*begin);
  }
  if (walk) usage.unfinished = !walk->Step(state_->options.usage_max_entries);
  std::lock_guard guard(state_->mutex);
  // Not when the container was removed meanwhile: nobody would ever erase it.
  auto found = state_->usage.find(id);
  if (!walk) {
    if (found != state_->usage.end()) state_->usage.erase(found);
    return begun;
  }
  usage.disk = walk->usage().disk;
  usage.truncated = walk->usage().truncated || usage.unfinished;
  if (usage.unfinished && before) {
    usage.disk.bytes = std::max(usage.disk.bytes, before->disk.bytes);
    usage.disk.inodes = std::max(usage.disk.inodes, before->disk.inodes);
  }
  if (found != state_->usage.end()) {
    found->second.last = usage;
    found->second.walking = false;
    if (usage.unfinished) found->second.walk = std::move(walk);
  }
  return usage;
}

std::optional<WritableUsage> Rootfs::LastUsage(const ContainerId& id) const {
  std::lock_guard guard(state_->mutex);
  auto found = state_->usage.find(id);
  return found == state_->usage.end() ? std::nullopt : found->second.last;
}

DiskUsage Rootfs::LastUsageOfAll() const {
  DiskUsage sum;
  std::lock_guard guard(state_->mutex);
  for (const auto& [id, measured] : state_->usage) {
    if (!measured.last) continue;
    sum.bytes += measured.last->disk.bytes;
    sum.inodes += measured.last->disk.inodes;
  }
  return sum;
}

std::string Rootfs::UpperDir(const ContainerId& id) const { return state_->UpperOf(id); }
std::string Rootfs::LogPath(const ContainerId& id) const { return state_->DirOf(id) + "/output.log"; }
std::string Rootfs::VolumesDir(const ContainerId& id) const { return state_->DirOf(id) + "/volumes"; }

Result<std::vector<ContainerId>> Rootfs::List() const {
  ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(AT_FDCWD, state_->dir));
  std::vector<ContainerId> ids;
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<std::string> name, directory.Next());
    if (!name) return ids;
    Result<ContainerId> id = ContainerId::Parse(*name);
    if (id.ok()) ids.push_back(*id);
  }
}

}  // namespace davit::store
