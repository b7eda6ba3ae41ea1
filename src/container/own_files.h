// What a container's root gets that images leave out: files that other engines make, and programs look for.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "container/users.h"

namespace davit::container {

// /etc/mtab, a link to /proc/mounts, where the root has none. `root_fd` is the mounted rootfs: nothing outside of it is
// reached, whatever /etc is. `owner` is the node's id of the container's root. OK when there is no /etc to put it into.
Status AddMtab(int root_fd, uint32_t owner);

// A line in the root's /etc/passwd for a user that has none, and in /etc/group for its group: without them a program
// cannot look itself up (whoami, ssh, JVMs). Only where the image has these files, which are the container's own from
// then on. Source: CRI-O does the same for run_as_user numbers.
Status AddUserEntry(int root_fd, const User& user);

}  // namespace davit::container
