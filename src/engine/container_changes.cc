#include "engine/container_changes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "base/strings.h"
#include "image/whiteouts.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::engine {
namespace {

constexpr size_t kMaxDepth = 500;  // a descriptor a level
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

using Lowers = std::vector<std::string>;  // what a directory is in the layers, topmost first

bool IsOpaqueAt(const std::string& path) {
  sys::UniqueFd fd(::open(path.c_str(), kDirectoryFlags));
  return fd.valid() && image::IsOpaque(fd.get());
}

// What the layers together have under a name in a directory.
std::optional<struct stat> Below(const Lowers& lowers, const std::string& name) {
  for (const std::string& lower : lowers) {
    struct stat info {};
    if (::lstat((lower + "/" + name).c_str(), &info) != 0) continue;
    if (image::IsWhiteout(info)) return std::nullopt;
    return info;
  }
  return std::nullopt;
}

Lowers Descend(const Lowers& lowers, const std::string& name) {
  Lowers next;
  for (const std::string& lower : lowers) {
    struct stat info {};
    std::string path = lower + "/" + name;
    if (::lstat(path.c_str(), &info) != 0) continue;
    if (!S_ISDIR(info.st_mode)) break;  // a whiteout too
    const bool opaque = IsOpaqueAt(path);
    next.push_back(std::move(path));
    if (opaque) break;
  }
  return next;
}

std::set<std::string> NamesBelow(const Lowers& lowers) {
  std::set<std::string> names;
  std::set<std::string> hidden;
  for (const std::string& lower : lowers) {
    sys::UniqueFd fd(::open(lower.c_str(), kDirectoryFlags));
    Result<std::vector<std::string>> here = fd.valid() ? sys::NamesIn(fd.get()) : std::vector<std::string>();
    if (!here.ok()) continue;
    for (const std::string& name : *here) {
      struct stat info {};
      if (::lstat((lower + "/" + name).c_str(), &info) != 0) continue;
      if (image::IsWhiteout(info)) {
        hidden.insert(name);
      } else if (hidden.count(name) == 0) {
        names.insert(name);
      }
    }
  }
  return names;
}

class Walk {
 public:
  Walk(const ChangesInput& input, Deadline deadline) : input_(input), deadline_(deadline) {}

  // What came of a directory: whether something in it is told, and whether something was left out.
  struct Found {
    bool told = false;
    bool left_out = false;
  };

  Result<Found> Directory(int fd, const std::string& path, const Lowers& lowers, size_t depth) {
    Found found;
    if (depth > kMaxDepth) {
      out_.truncated = true;
      return found;
    }
    ASSIGN_OR_RETURN_WITH(std::vector<std::string> names, sys::NamesIn(fd), "/" + Printable(path, 300));
    const bool opaque = image::IsOpaque(fd);
    const Lowers none;
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(const Found child, Entry(fd, name, path, opaque ? none : lowers, lowers, depth));
      found.told |= child.told;
      found.left_out |= child.left_out;
    }
    if (!opaque) return found;
    const std::set<std::string> kept(names.begin(), names.end());
    for (const std::string& name : NamesBelow(lowers)) {
      if (kept.count(name) == 0) found.told |= Tell(path + "/" + name, ChangeKind::kDeleted);
    }
    return found;
  }

  ContainerChanges Take() {
    std::sort(out_.changes.begin(), out_.changes.end(),
              [](const Change& a, const Change& b) { return a.path < b.path; });
    if (out_.changes.size() > input_.max) out_.changes.resize(input_.max);
    return std::move(out_);
  }

 private:
  // `lowers`: what is seen below the directory; `all`: what was there before.
  Result<Found> Entry(int directory, const std::string& name, const std::string& path, const Lowers& lowers,
                      const Lowers& all, size_t depth) {
    if (deadline_.expired()) return DeadlineExceeded("reading the container's files took too long");
    const std::string whole = path + "/" + name;
    struct stat info {};
    if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return Found{};  // gone meanwhile
    const std::optional<struct stat> before = Below(all, name);
    if (image::IsWhiteout(info)) return Found{before && Tell(whole, ChangeKind::kDeleted), false};
    const ChangeKind kind = before ? ChangeKind::kModified : ChangeKind::kAdded;
    if (!S_ISDIR(info.st_mode)) {
      if (!before && IsOwn(whole.substr(1), info)) return Found{false, true};
      return Found{Tell(whole, kind), false};
    }
    sys::UniqueFd fd(::openat(directory, name.c_str(), kDirectoryFlags));
    if (!fd.valid()) return Found{};
    ASSIGN_OR_RETURN(Found below, Directory(fd.get(), whole, Descend(lowers, name), depth + 1));
    if (before && S_ISDIR(before->st_mode)) {
      // A directory is in the upper one also because something below it is.
      const bool same = before->st_mode == info.st_mode && before->st_uid + input_.host_root == info.st_uid &&
                        before->st_gid + input_.host_root == info.st_gid;
      if (same && !below.told) return Found{false, below.left_out};
    } else if (!before && !below.told && (below.left_out || IsOwn(whole.substr(1), info))) {
      return Found{false, true};
    }
    return Found{Tell(whole, kind), false};
  }

  // Made by the runtime or by us, and as it was made.
  [[nodiscard]] bool IsOwn(const std::string& path, const struct stat& info) const {
    if (path == "etc/mtab") return S_ISLNK(info.st_mode);
    if (input_.mount_points.count(path) == 0) return false;
    return S_ISDIR(info.st_mode) || (S_ISREG(info.st_mode) && info.st_size == 0);
  }

  bool Tell(const std::string& path, ChangeKind kind) {
    if (out_.changes.size() > input_.max) {
      out_.truncated = true;
    } else {
      out_.changes.push_back({path, kind});
      out_.truncated = out_.truncated || out_.changes.size() > input_.max;
    }
    return true;
  }

  const ChangesInput& input_;
  const Deadline deadline_;
  ContainerChanges out_;
};

}  // namespace

Result<ContainerChanges> ListChanges(const ChangesInput& input, Deadline deadline) {
  ASSIGN_OR_RETURN(sys::UniqueFd upper, sys::Open(input.upper, kDirectoryFlags));
  Walk walk(input, deadline);
  RETURN_IF_ERROR(walk.Directory(upper.get(), "", input.layers, 0).status());
  return walk.Take();
}

}  // namespace davit::engine
