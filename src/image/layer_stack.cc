#include "image/layer_stack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/deadline.h"
#include "base/strings.h"
#include "image/sha256.h"
#include "image/whiteouts.h"
#include "sys/copy_tree.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// The parts of a clean path ("a/b"); none for the root.
std::vector<std::string> Parts(const std::string& path) {
  return path.empty() ? std::vector<std::string>() : Split(path, '/');
}

// The layers below, merged as overlayfs merges them.
class LowerView {
 public:
  static Result<LowerView> Open(const std::vector<std::string>& lower) {
    LowerView view;
    for (const std::string& path : lower) {
      ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      view.roots_.push_back(std::move(fd));
    }
    return view;
  }

  // The directory that is seen at `path`; nothing where there is none, or something else.
  [[nodiscard]] Result<std::optional<sys::UniqueFd>> Directory(const std::string& path) const {
    ASSIGN_OR_RETURN(std::vector<sys::UniqueFd> layers, Merged(Parts(path)));
    if (layers.empty()) return std::optional<sys::UniqueFd>();
    return std::optional<sys::UniqueFd>(std::move(layers.front()));
  }

  // The directory of the one layer from which the name `path` is seen; nothing where it is not.
  [[nodiscard]] Result<std::optional<sys::UniqueFd>> Holder(const std::string& path) const {
    std::vector<std::string> parts = Parts(path);
    if (parts.empty()) return std::optional<sys::UniqueFd>();
    const std::string name = parts.back();
    parts.pop_back();
    ASSIGN_OR_RETURN(std::vector<sys::UniqueFd> layers, Merged(parts));
    for (sys::UniqueFd& layer : layers) {
      struct stat info {};
      if (::fstatat(layer.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
        if (IsWhiteout(info)) break;
        return std::optional<sys::UniqueFd>(std::move(layer));
      }
      if (errno != ENOENT) return ErrnoError(errno, fmt::format("stat \"{}\"", Printable(path)));
    }
    return std::optional<sys::UniqueFd>();
  }

 private:
  // The directories that make up the one at `parts`, topmost first.
  [[nodiscard]] Result<std::vector<sys::UniqueFd>> Merged(const std::vector<std::string>& parts) const {
    std::vector<sys::UniqueFd> layers;
    for (const sys::UniqueFd& root : roots_) {
      ASSIGN_OR_RETURN(sys::UniqueFd fd, Step(root.get(), "."));
      layers.push_back(std::move(fd));
    }
    for (const std::string& part : parts) {
      std::vector<sys::UniqueFd> next;
      for (const sys::UniqueFd& layer : layers) {
        Result<sys::UniqueFd> fd = Step(layer.get(), part);
        if (fd.code() == StatusCode::kNotFound) continue;
        if (fd.code() == StatusCode::kFailedPrecondition) break;  // hides what is below
        if (!fd.ok()) return fd.status();
        const bool opaque = IsOpaque(fd->get());
        next.push_back(std::move(*fd));
        if (opaque) break;
      }
      layers = std::move(next);
    }
    return layers;
  }

  // kFailedPrecondition: there is something, and it is no directory.
  static Result<sys::UniqueFd> Step(int directory, const std::string& name) {
    sys::UniqueFd fd(::openat(directory, name.c_str(), kDirectory));
    if (fd.valid()) return fd;
    if (errno == ENOENT) return NotFound(name);
    if (errno == ENOTDIR || errno == ELOOP) return FailedPrecondition(name);
    return ErrnoError(errno, fmt::format("open \"{}\"", Printable(name)));
  }

  std::vector<sys::UniqueFd> roots_;
};

class Finish {
 public:
  Finish(sys::UniqueFd root, LowerView below, uint64_t max_bytes)
      : root_(std::move(root)), below_(std::move(below)), bytes_left_(max_bytes) {}

  Status Run(const LayerEvent& layer) {
    for (const std::string& path : layer.implicit_directories) RETURN_IF_ERROR(TakeAfterBelow(path));
    // Before the links: they need no name that is a whiteout now.
    for (const std::string& path : layer.whiteout_directories) RETURN_IF_ERROR(DropWhiteouts(path));
    for (const LinkBelow& link : layer.links_below) RETURN_IF_ERROR(Link(link));
    // Both have changed the times of the directories that they wrote into.
    for (const std::string& path : layer.implicit_directories) RETURN_IF_ERROR(TakeAfterBelow(path));
    return {};
  }

  [[nodiscard]] const StackGrowth& growth() const { return growth_; }

 private:
  // Owner, mode and times of the directory below.
  Status TakeAfterBelow(const std::string& path) {
    Result<sys::UniqueFd> to = sys::OpenInRoot(root_.get(), path.empty() ? "." : path, kDirectory);
    if (!to.ok()) return {};  // replaced later in the archive
    ASSIGN_OR_RETURN(std::optional<sys::UniqueFd> from, below_.Directory(path));
    return from ? CopyMetadata(from->get(), to->get(), path) : Status();
  }

  static Status CopyMetadata(int from, int to, const std::string& path) {
    struct stat info {};
    if (::fstat(from, &info) != 0) return ErrnoError(errno, fmt::format("stat \"{}\"", Printable(path)));
    timespec times[2] = {info.st_atim, info.st_mtim};
    if (::fchown(to, info.st_uid, info.st_gid) != 0 || ::fchmod(to, info.st_mode & 07777) != 0 ||
        ::futimens(to, times) != 0) {
      return ErrnoError(errno, fmt::format("copy the owner and mode of \"{}\"", Printable(path)));
    }
    return {};
  }

  Status DropWhiteouts(const std::string& path) {
    ASSIGN_OR_RETURN(std::optional<sys::UniqueFd> below, below_.Directory(path));
    if (below) return {};  // merged: overlayfs hides them
    Result<sys::UniqueFd> here = sys::OpenInRoot(root_.get(), path.empty() ? "." : path, kDirectory);
    if (!here.ok()) return {};
    struct stat before {};
    if (::fstat(here->get(), &before) != 0) return ErrnoError(errno, fmt::format("stat \"{}\"", Printable(path)));
    ASSIGN_OR_RETURN_WITH(uint64_t removed, RemoveWhiteouts(here->get()), path);
    growth_.entries -= static_cast<int64_t>(removed);
    timespec times[2] = {before.st_atim, before.st_mtim};
    if (::futimens(here->get(), times) != 0) return ErrnoError(errno, fmt::format("times of \"{}\"", Printable(path)));
    return {};
  }

  // The directory `path` of this layer, made as the one below where it is missing.
  Result<sys::UniqueFd> MakeDirectory(const std::string& path) {
    sys::UniqueFd at(::openat(root_.get(), ".", kDirectory));
    if (!at.valid()) return ErrnoError(errno, "open the layer");
    std::string reached;
    for (const std::string& part : Parts(path)) {
      reached += (reached.empty() ? "" : "/") + part;
      const bool made = ::mkdirat(at.get(), part.c_str(), 0755) == 0;
      if (!made && errno != EEXIST) return ErrnoError(errno, fmt::format("make \"{}\"", Printable(reached)));
      if (made) ++growth_.entries;
      at.reset(::openat(at.get(), part.c_str(), kDirectory));
      if (!at.valid()) return ErrnoError(errno, fmt::format("open \"{}\"", Printable(reached)));
      if (made) RETURN_IF_ERROR(TakeAfterBelow(reached));
    }
    return at;
  }

  // True when the layer itself has deleted what is below `path`, or has something else in its way.
  [[nodiscard]] bool Hidden(const std::string& path) const {
    sys::UniqueFd at(::openat(root_.get(), ".", kDirectory));
    for (const std::string& part : Parts(path)) {
      sys::UniqueFd next(::openat(at.get(), part.c_str(), kDirectory));
      if (!next.valid()) return errno != ENOENT;
      at = std::move(next);
      if (IsOpaque(at.get())) return true;
    }
    return false;
  }

  Status Link(const LinkBelow& link) {
    if (link.names.empty()) return {};
    const size_t slash = link.target.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : link.target.substr(0, slash);
    const std::string base = slash == std::string::npos ? link.target : link.target.substr(slash + 1);
    const std::string what =
        fmt::format("hard link \"{}\" to \"{}\"", Printable(link.names[0]), Printable(link.target));
    ASSIGN_OR_RETURN(std::optional<sys::UniqueFd> holder, below_.Holder(link.target));
    if (!holder) return InvalidArgument(what + ": the target is neither in this layer nor in those below");
    struct stat info {};
    if (::fstatat(holder->get(), base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(errno, what);
    if (S_ISDIR(info.st_mode)) return InvalidArgument(what + ": the target is a directory");
    if (S_ISREG(info.st_mode)) {
      const auto size = static_cast<uint64_t>(info.st_size);
      if (size > bytes_left_) return ResourceExhausted(what + ": the copies of such targets are too large");
      bytes_left_ -= size;
      growth_.bytes += size;
    }
    // The copy is made in the layer's root and then takes the place of every placeholder.
    const std::string temporary = ".wh..wh.davit-link";  // a name that no entry of an archive can have
    constexpr sys::CopyLimits kNone{.entries = 1, .bytes = UINT64_MAX};
    RETURN_IF_ERROR(
        sys::CopyFileAt(holder->get(), base, root_.get(), temporary, kNone, Deadline::Infinite()).Annotate(what));
    Status placed = Place(root_.get(), temporary, link);
    if (placed.ok() && !Hidden(parent)) placed = NameTarget(root_.get(), temporary, parent, base);
    if (::unlinkat(root_.get(), temporary.c_str(), 0) != 0 && placed.ok()) placed = ErrnoError(errno, what);
    return placed.Annotate(what);
  }

  Result<sys::UniqueFd> Parent(const std::string& name) {
    const size_t slash = name.rfind('/');
    return sys::OpenInRoot(root_.get(), slash == std::string::npos ? "." : name.substr(0, slash), kDirectory);
  }

  Status Place(int from, const std::string& temporary, const LinkBelow& link) {
    for (const std::string& name : link.names) {
      ASSIGN_OR_RETURN(sys::UniqueFd parent, Parent(name));
      const size_t slash = name.rfind('/');
      const std::string base = slash == std::string::npos ? name : name.substr(slash + 1);
      struct stat before {};
      if (::fstat(parent.get(), &before) != 0) return ErrnoError(errno, "stat");
      if (::unlinkat(parent.get(), base.c_str(), 0) != 0 ||
          ::linkat(from, temporary.c_str(), parent.get(), base.c_str(), 0) != 0) {
        return ErrnoError(errno, fmt::format("link \"{}\"", Printable(name)));
      }
      timespec times[2] = {before.st_atim, before.st_mtim};
      if (::futimens(parent.get(), times) != 0) return ErrnoError(errno, "times");
    }
    return {};
  }

  // The target gets the copy too, or it would not be the same file; not where the layer has another one there.
  Status NameTarget(int from, const std::string& temporary, const std::string& parent, const std::string& base) {
    ASSIGN_OR_RETURN(sys::UniqueFd directory, MakeDirectory(parent));
    struct stat before {};
    if (::fstat(directory.get(), &before) != 0) return ErrnoError(errno, "stat");
    if (::linkat(from, temporary.c_str(), directory.get(), base.c_str(), 0) != 0) {
      return errno == EEXIST ? Status() : ErrnoError(errno, fmt::format("link \"{}\"", Printable(base)));
    }
    timespec times[2] = {before.st_atim, before.st_mtim};
    if (::futimens(directory.get(), times) != 0) return ErrnoError(errno, "times");
    return {};
  }

  sys::UniqueFd root_;
  LowerView below_;
  uint64_t bytes_left_;
  StackGrowth growth_;
};

}  // namespace

std::vector<oci::Digest> StackKeys(const std::vector<oci::Digest>& diff_ids) {
  std::vector<oci::Digest> keys;
  std::string below = "scratch";
  for (const oci::Digest& diff_id : diff_ids) {
    keys.push_back(Sha256::Of(below + " " + diff_id.ToString()));
    below = keys.back().ToString();
  }
  return keys;
}

Result<StackGrowth> FinishOnStack(const std::string& fs, const LayerEvent& layer, const std::vector<std::string>& lower,
                                  uint64_t max_bytes) {
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open(fs, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(LowerView below, LowerView::Open(lower));
  Finish finish(std::move(root), std::move(below), max_bytes);
  RETURN_IF_ERROR(finish.Run(layer));
  return finish.growth();
}

}  // namespace davit::image
