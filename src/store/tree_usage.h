// What a directory tree takes on the disk. Internal to store/.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/directory.h"
#include "store/layers.h"

namespace davit::store {

struct TreeUsage {
  DiskUsage disk;
  uint64_t content_bytes = 0;  // sizes of regular files, each once
  bool truncated = false;      // the true numbers are larger: see Step
};

// A walk in steps, by descriptor and following no symlink, while the owner may be changing the tree: what vanishes
// meanwhile is not counted. As deep and as wide as the tree is (an owner who wants to hide something makes it deep), in
// bounded memory but for 40 bytes a level, and with one descriptor between two steps. Not thread-safe.
class TreeWalk {
 public:
  // kNotFound when the directory is not there.
  static Result<TreeWalk> Begin(const std::string& path);

  // Looks at `max` entries more; true when the tree is walked to its end. A directory that cannot be read, one that a
  // filesystem is mounted on, and what is left of the tree when a directory is moved away under the walk are not
  // counted: `truncated` says so.
  bool Step(size_t max);
  // So far.
  [[nodiscard]] const TreeUsage& usage() const { return usage_; }

 private:
  struct Level {
    dev_t device;
    ino_t inode;
    long offset = 0;                // to go on at, when it is not open
    std::optional<Directory> open;  // the last ones of the path only
  };

  TreeWalk() = default;
  void Count(const std::string& name);
  void Add(const struct ::stat& info);
  Status Descend(int parent, const std::string& name);
  void Ascend();
  void CloseUntil(size_t keep_open);

  std::vector<Level> levels_;
  size_t first_open_ = 0;  // levels_[first_open_, end) are open
  TreeUsage usage_;
  std::set<std::pair<dev_t, ino_t>> seen_;  // of files with several names, as far as there is room
};

// One walk of at most max_entries; truncated also when there are more.
Result<TreeUsage> MeasureTree(const std::string& path, size_t max_entries);

}  // namespace davit::store
