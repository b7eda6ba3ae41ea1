// Users: who the first process of a container is, from the request, the image's USER and the image's own
// /etc/passwd and /etc/group. Those files are untrusted: they are opened inside the rootfs only, must be
// regular and at most 10 MiB (CVE-2025-4437, CVE-2024-9676 classes).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "container/spec.h"

namespace davit::container {

struct User {
  int64_t uid = 0;
  int64_t gid = 0;
  std::vector<int64_t> groups;   // sorted, without doubles, the primary group included
  std::string home = "/";        // from passwd; "/root" for uid 0 without an entry
  bool has_entry = false;        // in passwd, the uid
  bool group_has_entry = false;  // in group, the gid
};

// A number of the image or the request: decimal digits, 0 to 2^31-1. An all-digit text that does not fit
// is an error and never a name (CVE-2024-40635, CVE-2026-46680 classes).
Result<int64_t> ParseUserNumber(std::string_view text);

// `rootfs_fd` is the mounted rootfs. kInvalidArgument: a group without a user, a number out of range;
// kNotFound: a user or group name that the image does not have.
Result<User> ResolveUser(int rootfs_fd, const SecurityContext& security, const std::string& image_user);

}  // namespace davit::container
