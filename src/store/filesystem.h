// FilesystemUsage: what CRI's ImageFsInfo reports about the store.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "store/content.h"
#include "store/layers.h"

namespace davit::store {

struct FilesystemUsage {
  std::string mount_point;  // of the filesystem that holds the store
  std::string device;       // what is mounted there: "/dev/vda1"
  DiskUsage used;           // by layers and content: summed from records, no walk
  uint64_t capacity_bytes = 0;
  uint64_t available_bytes = 0;  // for this process, statvfs(3) f_bavail
  uint64_t inodes_total = 0;
  uint64_t inodes_free = 0;
  int64_t wall_nanos = 0;  // when
};

// The mount point of the filesystem that holds `path` (statx(2) mount id and /proc/self/mountinfo).
// kNotFound when the path is not there.
Result<std::string> MountPointOf(const std::string& path);

// `root` is the store's root. One statvfs(3) and one read of mountinfo.
Result<FilesystemUsage> UsageOf(const std::string& root, const LayerDriver& layers, const Content& content);

}  // namespace davit::store
