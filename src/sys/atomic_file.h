// Files that are whole or absent.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace davit::sys {

enum class Durability {
  kAtomic,   // rename(2) only: survives the death of the process
  kDurable,  // and fsync of the file and its directory: survives the loss of power
};

// Names of files that a crash may leave behind begin so; recovery may delete them.
inline constexpr std::string_view kTemporaryPrefix = ".davit-tmp-";

// Writes `content` to a temporary file beside `path` and renames it over `path`.
// The mode is exact whatever the umask. The error names the path.
Status WriteFileAtomic(const std::string& path, std::string_view content, unsigned mode, Durability durability);

// mkdir -p; new directories get exactly `mode`, existing ones keep theirs.
Status MakeDirectories(const std::string& path, unsigned mode);

// Removes a file or a whole tree by descriptor, following no symlink and crossing no mount point
// (a mount below is kFailedPrecondition naming it). A path that is not there is OK.
Status RemoveTree(const std::string& path);

}  // namespace davit::sys
