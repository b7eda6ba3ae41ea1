// Mounts: thin, typed wrappers over mount(2), the fsopen(2) family and /proc/self/mountinfo.
#pragma once

// MS_* and MOUNT_ATTR_*. Include this header and not the C library's of the same name: with src/ on the
// include path that name means this file.
#include <linux/mount.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

struct MountInfo {
  uint64_t id = 0;
  uint64_t parent_id = 0;
  std::string root;                          // path inside the filesystem
  std::string mount_point;                   // unescaped
  std::string options;                       // per mount
  std::vector<std::string> optional_fields;  // "shared:1", "master:2", ...
  std::string fs_type;
  std::string source;
  std::string super_options;
};

// proc(5) /proc/pid/mountinfo; malformed lines are an error naming the line.
Result<std::vector<MountInfo>> ParseMountInfo(std::string_view text);
Result<std::vector<MountInfo>> ReadMountInfo();  // of this process; cap 64 MiB

// mount(2). The error names the target.
Status Mount(const std::string& source, const std::string& target, const std::string& fs_type, unsigned long flags,
             const std::string& data);
// Bind mount; `recursive` is MS_REC.
Status BindMount(const std::string& source, const std::string& target, bool recursive);
// umount2(MNT_DETACH); a target that is not there or not a mount point is OK.
Status Unmount(const std::string& target);
// Whether `path` itself is the root of a mount (statx STATX_ATTR_MOUNT_ROOT), without following a final symlink.
Result<bool> IsMountPoint(const std::string& path);

struct OverlayOptions {
  std::vector<std::string> lower;  // topmost first, absolute, at least one
  std::string upper;               // empty: read-only overlay
  std::string work;
  bool is_volatile = true;   // "volatile": no sync on umount (containers die with the boot anyway)
  std::string context = {};  // SELinux label of every file in it; empty: each file's own
  // A user namespace: the lower directories are id-mapped through it (kernel 5.19; idmap.h has the codes). What
  // is written goes to `upper` under the node's ids. -1: none.
  int user_namespace = -1;
};
// Mounts an overlay at target. Any number of lower directories that the kernel allows (500): uses
// fsconfig(2) "lowerdir+" where the kernel has it, else lowerdir= with paths short enough for one page,
// and then kInvalidArgument naming the count.
Status MountOverlay(const OverlayOptions& options, const std::string& target);

// Whether the mount holding `path` is shared or slave (propagation checks for CRI mounts).
struct Propagation {
  bool shared = false;
  bool slave = false;
};
Result<Propagation> PropagationOf(const std::string& path);

}  // namespace davit::sys
