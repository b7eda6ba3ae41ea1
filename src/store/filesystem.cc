#include "store/filesystem.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>

#include "base/time.h"
#include "sys/mounts.h"

namespace davit::store {

namespace {

Result<sys::MountInfo> MountOf(const std::string& path) {
  struct statx info {};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_MNT_ID, &info) != 0)
    return ErrnoError(errno, fmt::format("stat {}", path));
  if ((info.stx_mask & STATX_MNT_ID) == 0) return Unimplemented("the kernel does not tell mount ids (before 5.8)");
  ASSIGN_OR_RETURN(std::vector<sys::MountInfo> mounts, sys::ReadMountInfo());
  for (const sys::MountInfo& mount : mounts) {
    if (mount.id == info.stx_mnt_id) return mount;
  }
  return NotFound(fmt::format("{} is on a mount outside this mount namespace", path));
}

}  // namespace

Result<std::string> MountPointOf(const std::string& path) {
  ASSIGN_OR_RETURN(sys::MountInfo mount, MountOf(path));
  return mount.mount_point;
}

Result<FilesystemUsage> UsageOf(const std::string& root, const LayerDriver& layers, const Content& content) {
  FilesystemUsage usage;
  ASSIGN_OR_RETURN(sys::MountInfo mount, MountOf(root));
  usage.mount_point = std::move(mount.mount_point);
  usage.device = std::move(mount.source);
  struct statvfs info {};
  if (::statvfs(root.c_str(), &info) != 0) return ErrnoError(errno, fmt::format("statvfs {}", root));
  usage.capacity_bytes = uint64_t{info.f_blocks} * info.f_frsize;
  usage.available_bytes = uint64_t{info.f_bavail} * info.f_frsize;
  usage.inodes_total = info.f_files;
  usage.inodes_free = info.f_ffree;
  DiskUsage in_layers = layers.Usage();
  DiskUsage in_content = content.Usage();
  usage.used = {in_layers.bytes + in_content.bytes, in_layers.inodes + in_content.inodes};
  usage.wall_nanos = WallNanos();
  return usage;
}

}  // namespace davit::store
