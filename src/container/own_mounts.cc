#include "container/own_mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/fault.h"
#include "base/strings.h"
#include "store/layers.h"
#include "sys/atomic_file.h"
#include "sys/idmap.h"
#include "sys/mounts.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr size_t kMaxLowers = 500;  // OVL_MAX_STACK of the kernel

std::string Field(size_t index, std::string_view field) {
  return "mounts[" + std::to_string(index) + "]." + std::string(field);
}

// An empty directory or file, as what is to be mounted on it is one.
Status MakeTarget(const std::string& target, int source) {
  struct stat info {};
  if (::fstat(source, &info) != 0) return ErrnoError(errno, "stat source of " + target);
  if (S_ISDIR(info.st_mode)) return sys::MakeDirectories(target, 0700);
  return sys::Open(target, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600).status();
}

Status MakeHostMount(const OwnMount& mount, const std::string& target, int user_namespace) {
  ASSIGN_OR_RETURN(sys::UniqueFd source, sys::Open(mount.host_path, O_PATH));
  if (!mount.sub_path.empty()) {
    // By descriptor and inside the volume, which other containers write into (CVE-2017-1002101, CVE-2021-25741).
    Result<sys::UniqueFd> found = sys::OpenInRoot(source.get(), mount.sub_path, O_PATH);
    if (!found.ok()) return InvalidArgument("the volume has no such path: " + found.status().message());
    source = std::move(*found);
  }
  RETURN_IF_ERROR(MakeTarget(target, source.get()));
  ASSIGN_OR_RETURN(sys::UniqueFd tree, sys::CloneMountAt(source.get(), mount.host_path, /*recursive=*/true));
  RETURN_IF_ERROR(sys::SetPropagation(tree.get(), mount.slave ? MS_SLAVE : MS_PRIVATE));
  if (mount.sub_path.empty()) {
    RETURN_IF_ERROR(sys::SetIdmap(tree.get(), user_namespace, mount.host_path, /*recursive=*/true));
  }
  return sys::AttachMount(tree.get(), target);
}

Status CopyOwnerAndMode(const std::string& from, const std::string& to) {
  struct stat info {};
  if (::stat(from.c_str(), &info) != 0) return ErrnoError(errno, "stat " + from);
  if (::chown(to.c_str(), info.st_uid, info.st_gid) != 0) return ErrnoError(errno, "chown " + to);
  return ::chmod(to.c_str(), info.st_mode & 07777) == 0 ? Status() : ErrnoError(errno, "chmod " + to);
}

Status MountImage(const OwnMount& mount, const std::string& target, int user_namespace) {
  sys::OverlayOptions overlay;
  overlay.lower = mount.layers;
  overlay.is_volatile = false;
  overlay.context = mount.context;
  overlay.user_namespace = user_namespace;
  // An empty directory on top has the owner and mode of the image's "/"; a second one where the image has no layers,
  // for the kernel wants two. An overlay is wanted even for one layer: it is what hides the marks of deleted files.
  if (overlay.lower.size() < kMaxLowers) {
    const std::string top = target + ".top";
    RETURN_IF_ERROR(sys::MakeDirectories(top, 0755));
    if (!mount.layers.empty()) RETURN_IF_ERROR(CopyOwnerAndMode(store::RootLayer(mount.layers), top));
    overlay.lower.insert(overlay.lower.begin(), top);
  }
  if (overlay.lower.size() == 1) {
    RETURN_IF_ERROR(sys::MakeDirectories(target + ".under", 0755));
    overlay.lower.push_back(target + ".under");
  }
  RETURN_IF_ERROR(sys::MakeDirectories(target, 0700));
  return sys::MountOverlay(overlay, target);
}

Status MakeImageMount(const OwnMount& mount, const std::string& target, int user_namespace) {
  if (mount.sub_path.empty()) return MountImage(mount, target, user_namespace);
  const std::string whole = target + ".image";
  RETURN_IF_ERROR(MountImage(mount, whole, user_namespace));
  FaultPoint("container.mounts.image");
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open(whole, O_PATH | O_DIRECTORY));
  // By descriptor and inside the image: a link in it cannot lead to the node (CVE-2021-25741 class).
  Result<sys::UniqueFd> found = sys::OpenInRoot(root.get(), mount.sub_path, O_PATH);
  if (!found.ok()) {
    return InvalidArgument(Field(mount.index, "image_sub_path") +
                           ": the image has no such path: " + found.status().message());
  }
  RETURN_IF_ERROR(MakeTarget(target, found->get()));
  ASSIGN_OR_RETURN(sys::UniqueFd tree, sys::CloneMountAt(found->get(), mount.sub_path, /*recursive=*/false));
  return sys::AttachMount(tree.get(), target);
}

}  // namespace

std::string OwnMountTarget(const std::string& directory, size_t index) {
  return directory + "/" + std::to_string(index);
}

Status MakeOwnMounts(const std::string& directory, const std::vector<OwnMount>& mounts,
                     const std::string& user_namespace) {
  if (mounts.empty()) return {};
  RETURN_IF_ERROR(sys::MakeDirectories(directory, 0700));
  sys::UniqueFd user;
  if (!user_namespace.empty()) {
    ASSIGN_OR_RETURN(user, sys::Open(user_namespace, O_RDONLY));
  }
  for (const OwnMount& mount : mounts) {
    const std::string target = OwnMountTarget(directory, mount.index);
    bool host = !mount.host_path.empty();
    Status made = host ? MakeHostMount(mount, target, user.get()) : MakeImageMount(mount, target, user.get());
    RETURN_IF_ERROR(made.Annotate(Field(mount.index, !host                    ? "image"
                                                     : mount.sub_path.empty() ? "uidMappings"
                                                                              : "volume_sub_path")));
    FaultPoint("container.mounts.made");
  }
  return {};
}

Status RemoveOwnMounts(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return errno == ENOENT ? Status() : ErrnoError(errno, "open " + directory);
  constexpr int kMaxStacked = 64;  // a crash and a repeated step may put one mount over another
  while (dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string path = directory + "/" + name;
    for (int i = 0; i < kMaxStacked; ++i) {
      ASSIGN_OR_RETURN(bool mounted, sys::IsMountPoint(path));
      if (!mounted) break;
      RETURN_IF_ERROR(sys::Unmount(path));
    }
  }
  return {};
}

}  // namespace davit::container
