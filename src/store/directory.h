// Directory: an open directory and the names in it, read one at a time. Internal to store/.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

// <dirent.h>'s DIR, without the header.
struct __dirstream;

namespace davit::store {

class Directory {
 public:
  // The directory `name` of `parent` (a descriptor, or AT_FDCWD). Follows no symlink in the last
  // component. With a real parent also no mount point: kFailedPrecondition naming it (the trees walked
  // here are ours, so a mount in one is somebody else's data). kNotFound when it is not there.
  static Result<Directory> OpenBelow(int parent, const std::string& name);
  // What ".." of an open directory is, wherever that is by now.
  static Result<Directory> OpenParent(int directory);
  Directory(Directory&& other) noexcept : stream_(other.stream_) { other.stream_ = nullptr; }
  Directory& operator=(Directory&& other) noexcept;
  ~Directory();

  // Without "." and ".."; nullopt at the end.
  Result<std::optional<std::string>> Next();
  // Where Next goes on, for Seek of another Directory of the same one (telldir(3); the offsets are the filesystem's).
  [[nodiscard]] long Tell() const;
  void Seek(long offset);
  [[nodiscard]] int fd() const;

 private:
  explicit Directory(__dirstream* stream) : stream_(stream) {}
  __dirstream* stream_;
};

}  // namespace davit::store
