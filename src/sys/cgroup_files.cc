#include "sys/cgroup_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace davit::sys {
namespace {

std::optional<size_t> ReadOnce(int fd, std::span<char> buffer) {
  ssize_t n = 0;
  do {
    n = ::pread(fd, buffer.data(), buffer.size(), 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0 || static_cast<size_t>(n) == buffer.size()) return std::nullopt;
  return static_cast<size_t>(n);
}

}  // namespace

CgroupFiles::File CgroupFiles::Find(const std::string& directory, std::string_view name) {
  std::lock_guard lock(mutex_);
  const auto found = directories_.find(directory);
  if (found == directories_.end()) return nullptr;
  const auto file =
      std::find_if(found->second.begin(), found->second.end(), [&](const auto& one) { return one.first == name; });
  return file == found->second.end() ? nullptr : file->second;
}

void CgroupFiles::Drop(const std::string& directory, std::string_view name, const File& file) {
  std::lock_guard lock(mutex_);
  const auto found = directories_.find(directory);
  if (found == directories_.end()) return;
  // Another thread may have put a newer one there.
  open_ -= std::erase_if(found->second, [&](const auto& one) { return one.first == name && one.second == file; });
  if (found->second.empty()) directories_.erase(found);
}

std::optional<size_t> CgroupFiles::Read(const std::string& directory, std::string_view name, std::span<char> buffer) {
  if (File kept = Find(directory, name)) {
    if (std::optional<size_t> size = ReadOnce(kept->get(), buffer)) return size;
    Drop(directory, name, kept);
  }
  uint64_t forgotten = 0;
  {
    std::lock_guard lock(mutex_);
    forgotten = forgotten_;
  }
  std::string path = directory;
  path += '/';
  path += name;
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  const std::optional<size_t> size = ReadOnce(fd.get(), buffer);
  if (!size) return size;
  auto file = std::make_shared<const UniqueFd>(std::move(fd));  // closed after the lock where it is not kept
  std::lock_guard lock(mutex_);
  if (open_ >= most_ || forgotten != forgotten_) return size;
  Directory& files = directories_[directory];
  const bool there = std::any_of(files.begin(), files.end(), [&](const auto& one) { return one.first == name; });
  if (there) return size;
  files.emplace_back(name, std::move(file));
  ++open_;
  return size;
}

void CgroupFiles::Forget(const std::string& directory) {
  std::vector<Directory> closed;  // after the lock
  std::lock_guard lock(mutex_);
  ++forgotten_;
  auto take = [&](auto at) {
    open_ -= at->second.size();
    closed.push_back(std::move(at->second));
    return directories_.erase(at);
  };
  if (const auto own = directories_.find(directory); own != directories_.end()) take(own);
  const std::string below = directory + "/";
  for (auto at = directories_.lower_bound(below); at != directories_.end() && at->first.starts_with(below);)
    at = take(at);
}

size_t CgroupFiles::open() const {
  std::lock_guard lock(mutex_);
  return open_;
}

}  // namespace davit::sys
