#include "store/tree_usage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <set>
#include <utility>

#include "store/directory.h"

namespace davit::store {
namespace {

constexpr int kMaxDepth = 128;  // one descriptor each

class Walk {
 public:
  explicit Walk(size_t max_entries) : left_(max_entries) {}

  Status Below(int parent, const std::string& name, int depth) {
    ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(parent, name));
    if (depth == 0) RETURN_IF_ERROR(CountRoot(directory.fd()));
    while (left_ > 0) {
      ASSIGN_OR_RETURN(std::optional<std::string> entry, directory.Next());
      if (!entry) return {};
      Count(directory.fd(), *entry, depth);
    }
    usage_.truncated = true;
    return {};
  }

  [[nodiscard]] const TreeUsage& usage() const { return usage_; }

 private:
  void Add(const struct stat& info) {
    // A file with several names is one file; only those have to be remembered.
    if (!S_ISDIR(info.st_mode) && info.st_nlink > 1 && !seen_.insert({info.st_dev, info.st_ino}).second) return;
    usage_.disk.bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    usage_.disk.inodes += 1;
  }

  Status CountRoot(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return ErrnoError(errno, "stat");
    Add(info);
    return {};
  }

  void Count(int parent, const std::string& name, int depth) {
    --left_;
    struct stat info {};
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return;  // gone meanwhile
    Add(info);
    if (!S_ISDIR(info.st_mode)) return;
    if (depth + 1 >= kMaxDepth || !Below(parent, name, depth + 1).ok()) usage_.truncated = true;
  }

  size_t left_;
  TreeUsage usage_;
  std::set<std::pair<dev_t, ino_t>> seen_;
};

}  // namespace

Result<TreeUsage> MeasureTree(const std::string& path, size_t max_entries) {
  Walk walk(max_entries);
  RETURN_IF_ERROR(walk.Below(AT_FDCWD, path, 0).Annotate(fmt::format("measure {}", path)));
  return walk.usage();
}

}  // namespace davit::store
