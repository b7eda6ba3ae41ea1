#include "store/tree_usage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

namespace davit::store {
namespace {

constexpr size_t kMaxOpen = 32;         // levels with a descriptor during a step
constexpr size_t kMaxLevels = 1 << 20;  // 40 MiB of levels; making them takes longer than walking them
constexpr size_t kMaxSeen = 100'000;    // files with several names that are told apart

}  // namespace

Result<TreeWalk> TreeWalk::Begin(const std::string& path) {
  TreeWalk walk;
  RETURN_IF_ERROR(walk.Descend(AT_FDCWD, path).Annotate(fmt::format("measure {}", path)));
  return walk;
}

bool TreeWalk::Step(size_t max) {
  while (!levels_.empty()) {
    if (max-- == 0) {
      CloseUntil(1);
      return false;
    }
    Result<std::optional<std::string>> entry = levels_.back().open->Next();
    if (!entry.ok()) usage_.truncated = true;
    if (entry.ok() && *entry) {
      Count(**entry);
    } else {
      Ascend();
    }
  }
  return true;
}

void TreeWalk::Count(const std::string& name) {
  const int parent = levels_.back().open->fd();
  struct stat info {};
  if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return;  // gone meanwhile
  if (!S_ISDIR(info.st_mode)) {
    Add(info);
    return;
  }
  Status entered = levels_.size() < kMaxLevels ? Descend(parent, name) : ResourceExhausted("too many levels");
  if (entered.ok() || entered.code() == StatusCode::kNotFound) return;
  Add(info);
  usage_.truncated = true;
}

void TreeWalk::Add(const struct ::stat& info) {
  auto bytes = static_cast<uint64_t>(info.st_blocks) * 512;
  if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
    if (seen_.count({info.st_dev, info.st_ino}) > 0) return;
    if (seen_.size() >= kMaxSeen) {
      // Each name has its share then; the inode is not counted, which is little beside a hundred thousand.
      usage_.disk.bytes += bytes / info.st_nlink;
      return;
    }
    seen_.insert({info.st_dev, info.st_ino});
  }
  usage_.disk.bytes += bytes;
  usage_.disk.inodes += 1;
  if (S_ISREG(info.st_mode)) usage_.content_bytes += static_cast<uint64_t>(info.st_size);
}

// Enters it and counts it.
Status TreeWalk::Descend(int parent, const std::string& name) {
  ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(parent, name));
  struct stat info {};
  if (::fstat(directory.fd(), &info) != 0) return ErrnoError(errno, "stat");
  Add(info);
  levels_.push_back({info.st_dev, info.st_ino, 0, std::move(directory)});
  CloseUntil(kMaxOpen);
  return {};
}

void TreeWalk::CloseUntil(size_t keep_open) {
  while (levels_.size() - first_open_ > keep_open) {
    Level& level = levels_[first_open_++];
    level.offset = level.open->Tell();
    level.open.reset();
  }
}

// Back to the parent, which is where ".." leads unless somebody moved the directory meanwhile.
void TreeWalk::Ascend() {
  Level left = std::move(levels_.back());
  levels_.pop_back();
  if (levels_.empty() || levels_.back().open) return;
  Level& parent = levels_.back();
  Result<Directory> up = Directory::OpenParent(left.open->fd());
  struct stat info {};
  if (!up.ok() || ::fstat(up->fd(), &info) != 0 || info.st_dev != parent.device || info.st_ino != parent.inode) {
    usage_.truncated = true;
    levels_.clear();
    first_open_ = 0;
    return;
  }
  parent.open = std::move(*up);
  parent.open->Seek(parent.offset);
  first_open_ = levels_.size() - 1;
}

Result<TreeUsage> MeasureTree(const std::string& path, size_t max_entries) {
  ASSIGN_OR_RETURN(TreeWalk walk, TreeWalk::Begin(path));
  TreeUsage usage;
  bool whole = walk.Step(max_entries);
  usage = walk.usage();
  usage.truncated = usage.truncated || !whole;
  return usage;
}

}  // namespace davit::store
