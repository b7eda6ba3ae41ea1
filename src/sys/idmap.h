// Id-mapped mounts: detached copies of mounts on which file owners are shifted by a user namespace's map
// (mount_setattr(2), MOUNT_ATTR_IDMAP; kernel 5.12, ext4 and xfs since then, overlay layers 5.19, tmpfs 6.3).
// What is on the disk does not change: a file of host id 5 shows as the map's id for 5, and what the
// mapped root writes is stored as 0.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

// open_tree(2) OPEN_TREE_CLONE of the mount at `path`, with all mounts below it when `recursive`. Goes
// away with the descriptor unless it was attached.
Result<UniqueFd> CloneMount(const std::string& path, bool recursive);
// The same for what a descriptor names; `name` is for errors.
Result<UniqueFd> CloneMountAt(int fd, const std::string& name, bool recursive);

// Shifts the owners on a detached copy. kFailedPrecondition naming the filesystem when it (or one below)
// cannot, or when the copy is shifted already; `name` is the path it was cloned from.
Status SetIdmap(int tree, int user_namespace, const std::string& name, bool recursive);

// MS_PRIVATE or MS_SLAVE for every mount of a detached copy. A copy of a shared mount is its peer: taking
// away a mount below the copy would take it away in the original too (mount_namespaces(7)).
Status SetPropagation(int tree, unsigned long propagation);

// move_mount(2). The target exists and is of the same kind (file or directory).
Status AttachMount(int tree, const std::string& target);

// The types of the filesystems mounted at or below `path`, each once: "ext4, tmpfs". For messages.
std::string FilesystemsAt(const std::string& path);

}  // namespace davit::sys
