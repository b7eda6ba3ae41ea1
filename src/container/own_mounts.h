// Mounts that Davit makes itself and hands to the OCI runtime as plain bind mounts: host paths whose owners
// are shifted for a user namespace (not every runtime can), and image volumes (KEP-4639).
//
//   <container>/mounts/<i>         what the runtime binds; i is the index in the request
//   <container>/mounts/<i>.image   the whole image, when only a sub path of it is at <i>
//   <container>/mounts/empty*      lower directories of images with less than two layers
//
// The container's record is the record of intent: RemoveOwnMounts takes away whatever is there.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace davit::container {

struct OwnMount {
  size_t index = 0;
  std::string host_path;            // resolved; empty: an image volume
  bool slave = false;               // what is mounted below the host path later appears here too
  std::vector<std::string> layers;  // of the image, topmost first
  std::string sub_path;             // below the image's root or the host path; empty: all of it
  std::string context;              // SELinux label of an image's files; empty: each file's own
};

// Where the runtime finds mount `index`. `directory` is the container's mounts directory.
std::string OwnMountTarget(const std::string& directory, size_t index);

// `user_namespace` is a pinned one through which owners are shifted; empty: none. On an error some may be
// there already. kFailedPrecondition naming mount and filesystem that cannot be shifted; kInvalidArgument
// naming a sub path that the image does not have.
Status MakeOwnMounts(const std::string& directory, const std::vector<OwnMount>& mounts,
                     const std::string& user_namespace);

// Unmounts everything below the directory. OK when there is none. Idempotent.
Status RemoveOwnMounts(const std::string& directory);

}  // namespace davit::container
