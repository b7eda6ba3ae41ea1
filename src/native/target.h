// Target: a place inside the container's root, found or made by descriptor.
//
// The root may belong to somebody who renames directories and swaps links while we look (CVE-2021-30465,
// CVE-2024-45310). Every look-up is one openat2(2) with RESOLVE_IN_ROOT, and what it gives, a descriptor, is what is
// then mounted on: nothing is looked up a second time by name.
#pragma once

#include <string>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::native {

// O_PATH. `plain`: no component may be a link, for what must be where it is named: /proc, /sys.
Result<sys::UniqueFd> OpenTarget(int root_fd, const std::string& path, bool plain = false);
// The directory `path`, made with its parents (mode 0755) where it is not there.
Result<sys::UniqueFd> MakeDirectoryTarget(int root_fd, const std::string& path, bool plain = false);
// The file `path` (anything but a directory), made empty where it is not there.
Result<sys::UniqueFd> MakeFileTarget(int root_fd, const std::string& path);

// A directory and a name in it: where something new is made.
struct Place {
  sys::UniqueFd directory;
  std::string name;
};
// The parents are made. kInvalidArgument for a path that ends in "/", "." or "..".
Result<Place> MakeParent(int root_fd, const std::string& path);

}  // namespace davit::native
