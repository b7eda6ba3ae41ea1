// MeasureTree: what a directory tree takes on the disk. Internal to store/.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"
#include "store/layers.h"

namespace davit::store {

struct TreeUsage {
  DiskUsage disk;
  bool truncated = false;
};

// Walks by descriptor, following no symlink, while the owner may be changing the tree: what vanishes
// meanwhile is not counted. Stops at max_entries and does not look below 128 levels; truncated says so.
// kNotFound when the directory is not there.
Result<TreeUsage> MeasureTree(const std::string& path, size_t max_entries);

}  // namespace davit::store
