// How a layer's directory says that something of the layers below is deleted: as overlayfs wants it
// (kernel: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "base/result.h"

namespace davit::image {

// A character device 0/0: the name is deleted.
bool IsWhiteout(const struct stat& info);
// All that is below the directory is hidden. `directory` is open for reading; not O_PATH.
bool IsOpaque(int directory);
Status MarkOpaque(int directory);

// Removes the whiteouts in this one directory; returns how many there were. Its times change.
Result<uint64_t> RemoveWhiteouts(int directory);

}  // namespace davit::image
