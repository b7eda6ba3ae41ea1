// Paths inside an untrusted root (an image's rootfs): resolved only with openat2(2)
// RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, from a descriptor of that root. No string joins.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

// openat2 in root; the error names `path` as seen inside the root.
Result<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags, unsigned mode = 0);
// openat2 of a path that goes through no symbolic link, no mount and nothing above root; one that does is an error.
Result<UniqueFd> OpenBeneath(int root_fd, const std::string& path, int flags);
// A regular file of at most max_bytes (else kInvalidArgument), opened without blocking on a FIFO.
Result<std::string> ReadFileInRoot(int root_fd, const std::string& path, size_t max_bytes);
// mkdir -p in root; returns the last directory. Symlinks on the way are followed inside the root.
Result<UniqueFd> MakeDirectoriesInRoot(int root_fd, const std::string& path, unsigned mode);
// The names in an open directory, sorted, without "." and "..". Its place in the directory does not move.
Result<std::vector<std::string>> NamesIn(int directory);

}  // namespace davit::sys
