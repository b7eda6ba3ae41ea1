#include "sys/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

struct SplitPath {
  std::string directory;
  std::string name;
};

// "a/b/" is {"a", "b"}; "x" is {".", "x"}; the name is empty for "/" and "".
SplitPath SplitLast(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

std::string TemporaryName() {
  char bytes[8] = {};
  // Short reads and errors cannot happen for 8 bytes; O_EXCL would catch a repeated name anyway.
  if (::getrandom(bytes, sizeof bytes, 0) < 0) bytes[0] = static_cast<char>(::getpid());
  return std::string(kTemporaryPrefix) + HexEncode(std::string_view(bytes, sizeof bytes));
}

Status WriteTemporary(int directory, const std::string& name, std::string_view content, unsigned mode, bool sync) {
  UniqueFd fd(::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd.valid()) return ErrnoError(errno, "create temporary file");
  RETURN_IF_ERROR(WriteAll(fd.get(), content));
  if (::fchmod(fd.get(), mode) != 0) return ErrnoError(errno, "set mode");  // the umask took bits away
  if (sync && ::fsync(fd.get()) != 0) return ErrnoError(errno, "fsync");
  return {};
}

}  // namespace

Status WriteFileAtomic(const std::string& path, std::string_view content, unsigned mode, Durability durability) {
  SplitPath split = SplitLast(path);
  if (split.name.empty()) return InvalidArgument("write file \"" + path + "\": no file name");
  bool durable = durability == Durability::kDurable;
  UniqueFd directory(::open(split.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoError(errno, "open directory of " + path);

  std::string temporary = TemporaryName();
  Status written = WriteTemporary(directory.get(), temporary, content, mode, durable);
  if (written.ok() && ::renameat(directory.get(), temporary.c_str(), directory.get(), split.name.c_str()) != 0) {
    written = ErrnoError(errno, "rename");
  }
  if (!written.ok()) {
    ::unlinkat(directory.get(), temporary.c_str(), 0);
    return written.Annotate("write file " + path);
  }
  if (durable && ::fsync(directory.get()) != 0) return ErrnoError(errno, "fsync directory of " + path);
  return {};
}

Status MakeDirectories(const std::string& path, unsigned mode) {
  if (path.empty()) return InvalidArgument("make directory \"\": empty path");
  size_t end = 0;
  while (end < path.size()) {
    end = path.find('/', end + 1);
    if (end == std::string::npos) end = path.size();
    std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), mode) == 0) {
      // The umask took bits away; the directory is new, so nobody else's mode is changed.
      if (::chmod(prefix.c_str(), mode) != 0) return ErrnoError(errno, "set mode of directory " + prefix);
      continue;
    }
    int err = errno;
    struct stat st;
    // Asked only after mkdir refused: EEXIST, but also EROFS and EACCES above an existing directory.
    if (::stat(prefix.c_str(), &st) == 0) {
      if (S_ISDIR(st.st_mode)) continue;
      err = ENOTDIR;
    }
    return ErrnoError(err, "make directory " + prefix);
  }
  return {};
}

namespace {

// Directories held open at once while a tree is removed. What lies deeper is first moved up to the top
// of the tree, so that neither descriptors nor memory grow with the depth a container has made.
constexpr size_t kMaxOpenDepth = 48;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// One directory of the walk. readdir(3) over a directory that shrinks may skip entries on some
// filesystems, so a directory is read again until a pass has found nothing to remove.
struct Level {
  std::unique_ptr<DIR, CloseDir> dir;
  std::string name;      // in the level above
  uint64_t removed = 0;  // entries that went away in this pass
  [[nodiscard]] int fd() const { return ::dirfd(dir.get()); }
};

class TreeRemover {
 public:
  TreeRemover(UniqueFd parent, SplitPath path) : parent_(std::move(parent)), path_(std::move(path)) {}

  Status Run() {
    RETURN_IF_ERROR(Remove(parent_.get(), path_.name, DT_UNKNOWN));
    while (!levels_.empty()) {
      errno = 0;
      dirent* entry = ::readdir(levels_.back().dir.get());
      if (entry == nullptr) {
        if (errno != 0) return Error(errno, "");
        RETURN_IF_ERROR(FinishLevel());
        continue;
      }
      std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      RETURN_IF_ERROR(Remove(levels_.back().fd(), std::string(name), entry->d_type));
    }
    return {};
  }

 private:
  // Unlinks a file, or enters a directory.
  Status Remove(int at, const std::string& name, unsigned char type) {
    if (type == DT_UNKNOWN) {
      struct stat st;
      if (::fstatat(at, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? Status() : Error(errno, name);
      }
      type = S_ISDIR(st.st_mode) ? DT_DIR : DT_REG;
    }
    if (type == DT_DIR) return Enter(at, name);
    if (::unlinkat(at, name.c_str(), 0) != 0 && errno != ENOENT) {
      return errno == EBUSY ? MountError(name) : Error(errno, name);
    }
    CountRemoved();
    return {};
  }

  Status Enter(int at, const std::string& name) {
    if (levels_.size() >= kMaxOpenDepth && MoveToTop(at, name)) return {};
    open_how how = {};
    how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    // The path given may itself be anything, what is below it may not cross into another mount.
    how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS;
    UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, at, name.c_str(), &how, sizeof how)));
    if (!fd.valid()) {
      if (errno == ENOENT) return {};
      return errno == EXDEV ? MountError(name) : Error(errno, name);
    }
    DIR* dir = ::fdopendir(fd.get());
    if (dir == nullptr) return Error(errno, name);
    (void)fd.release();  // closedir closes it
    levels_.push_back(Level{std::unique_ptr<DIR, CloseDir>(dir), name});
    return {};
  }

  // False when the filesystem will not rename it (overlay without redirect_dir: EXDEV): then the walk
  // goes deeper after all.
  bool MoveToTop(int at, const std::string& name) {
    for (int attempt = 0; attempt < 16; ++attempt) {
      std::string moved = std::string(kTemporaryPrefix) + "deep-" + std::to_string(next_moved_++);
      if (::renameat(at, name.c_str(), levels_.front().fd(), moved.c_str()) == 0) {
        CountRemoved();
        return true;
      }
      if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) return false;
    }
    return false;
  }

  Status FinishLevel() {
    Level& level = levels_.back();
    int above = levels_.size() == 1 ? parent_.get() : levels_[levels_.size() - 2].fd();
    if (::unlinkat(above, level.name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) {
      levels_.pop_back();
      CountRemoved();
      return {};
    }
    if ((errno == ENOTEMPTY || errno == EEXIST) && level.removed > 0) {
      level.removed = 0;
      ::rewinddir(level.dir.get());
      return {};
    }
    return errno == EBUSY ? MountError("") : Error(errno, "");
  }

  void CountRemoved() {
    if (!levels_.empty()) ++levels_.back().removed;
  }

  [[nodiscard]] std::string PathOf(const std::string& name) const {
    std::string path = path_.directory;
    auto add = [&path](const std::string& part) { path += (path.ends_with('/') ? "" : "/") + part; };
    for (const Level& level : levels_) add(level.name);
    if (!name.empty()) add(name);
    return path;
  }
  [[nodiscard]] Status Error(int err, const std::string& name) const {
    return ErrnoError(err, "remove " + PathOf(name));
  }
  [[nodiscard]] Status MountError(const std::string& name) const {
    return FailedPrecondition("remove " + PathOf(name) + ": a mount is there");
  }

  UniqueFd parent_;
  SplitPath path_;
  std::vector<Level> levels_;
  uint64_t next_moved_ = 0;
};

}  // namespace

Status RemoveTree(const std::string& path) {
  SplitPath split = SplitLast(path);
  if (split.name.empty() || split.name == "." || split.name == "..") {
    return InvalidArgument("remove \"" + path + "\": the last part must be a name");
  }
  UniqueFd parent(::open(split.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!parent.valid()) return errno == ENOENT ? Status() : ErrnoError(errno, "remove " + path);
  return TreeRemover(std::move(parent), std::move(split)).Run();
}

}  // namespace davit::sys
