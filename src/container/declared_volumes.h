// Volumes that an image declares (config.Volumes): each gets a directory of the container's own, with what the
// image has at that path copied into it, mounted read-write over the path, unless something else is
// mounted there. As with other runtimes the content goes with the container.
//
// The paths are the image author's (CVE-2022-23648): they are cleaned, resolved inside the rootfs by
// descriptor, and never become part of a path of the node.
#pragma once

#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "oci/runtime_spec.h"

namespace davit::container {

// The paths to make volumes for: absolute, ".." taken away at the root, without doubles and without those
// that `mounts` has. kInvalidArgument naming one that is no place for a volume ("/", "/proc", …).
Result<std::vector<std::string>> DeclaredVolumes(const std::vector<std::string>& declared,
                                                 const std::vector<oci::SpecMount>& mounts);

struct VolumeOwner {  // of a volume whose path the image does not have
  uint32_t uid = 0;
  uint32_t gid = 0;
};

// What the image has at `path` into `directory`, with owner and mode; where it has nothing, the owner and 0755.
// kInvalidArgument: no directory; kResourceExhausted: more than is copied.
Status FillFromImage(int rootfs_fd, const std::string& path, const std::string& directory, VolumeOwner owner,
                     Deadline deadline);

// Makes <directory>/<n> for each path and returns the bind mounts. `rootfs_fd`: the container's mounted root.
// kInvalidArgument: the image has a file at the path; kResourceExhausted: more there than is copied.
Result<std::vector<oci::SpecMount>> MakeDeclaredVolumes(const std::vector<std::string>& paths, int rootfs_fd,
                                                        const std::string& directory, VolumeOwner owner,
                                                        Deadline deadline);

}  // namespace davit::container
