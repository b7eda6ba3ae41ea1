#include "image/layer_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"
#include "image/whiteouts.h"
#include "sys/rooted.h"

namespace davit::image {
namespace {

constexpr uint64_t kSpaceCheckBytes = 64ULL << 20;
constexpr std::string_view kWhiteoutPrefix = ".wh.";

// "a/b" of "/a//./b/". kInvalidArgument for "..": it has no place in an archive, and refusing beats
// guessing what the builder meant.
Result<std::string> CleanName(const std::string& name) {
  std::string out;
  size_t at = 0;
  while (at < name.size()) {
    size_t slash = std::min(name.find('/', at), name.size());
    std::string_view part(name.data() + at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return InvalidArgument(fmt::format("entry \"{}\" has \"..\" in its name", Printable(name, 256)));
    if (part.size() > 255) {
      return InvalidArgument(fmt::format("entry \"{}\" has a component of {} bytes", Printable(name), part.size()));
    }
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

struct SplitName {
  std::string parent;
  std::string base;
};
SplitName SplitPath(const std::string& clean) {
  size_t slash = clean.rfind('/');
  if (slash == std::string::npos) return {"", clean};
  return {clean.substr(0, slash), clean.substr(slash + 1)};
}

bool HasWhiteoutPart(std::string_view parent) {
  return parent.starts_with(kWhiteoutPrefix) || parent.find("/.wh.") != std::string_view::npos;
}

timespec ToTimespec(int64_t seconds, uint32_t nanos) {
  timespec out{};
  out.tv_sec = seconds;
  out.tv_nsec = nanos;
  return out;
}

mode_t TypeBits(TarType type) {
  switch (type) {
    case TarType::kCharDevice:
      return S_IFCHR;
    case TarType::kBlockDevice:
      return S_IFBLK;
    case TarType::kFifo:
      return S_IFIFO;
    default:
      return S_IFREG;
  }
}

// rm -r by descriptor: follows nothing, as deep as the archive could nest (names are at most 4096 bytes).
Status RemoveAt(int parent, const std::string& name, int depth = 0) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return ErrnoError(errno, fmt::format("replace \"{}\"", Printable(name)));
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0) return {};
  if (errno != ENOTEMPTY && errno != EEXIST) return ErrnoError(errno, fmt::format("replace \"{}\"", Printable(name)));
  if (depth > 2100) return ResourceExhausted(fmt::format("replace \"{}\": nested too deep", Printable(name)));
  sys::UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, fmt::format("replace \"{}\"", Printable(name)));
  DIR* dir = ::fdopendir(::dup(fd.get()));
  if (dir == nullptr) return ErrnoError(errno, fmt::format("replace \"{}\"", Printable(name)));
  Status status;
  while (dirent* item = ::readdir(dir)) {
    std::string child = item->d_name;
    if (child == "." || child == "..") continue;
    status = RemoveAt(fd.get(), child, depth + 1);
    if (!status.ok()) break;
  }
  ::closedir(dir);
  RETURN_IF_ERROR(status);
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0) {
    return ErrnoError(errno, fmt::format("replace \"{}\"", Printable(name)));
  }
  return {};
}

// In the layer's root while it is written; entries of such names are left out.
std::string KeeperName(size_t link) { return fmt::format(".wh..wh.davit-link-{}", link); }

enum class XattrRule { kSet, kSkip, kRefuse };
XattrRule RuleFor(std::string_view name) {
  if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) return XattrRule::kRefuse;
  if (name.starts_with("user.") || name == "security.capability" || name == "system.posix_acl_access" ||
      name == "system.posix_acl_default") {
    return XattrRule::kSet;
  }
  return XattrRule::kSkip;
}

}  // namespace

struct LayerWriter::Place {
  int parent = -1;  // borrowed: the writer's cached descriptor
  std::string base;
  std::string clean;
  bool setgid = false;  // files made in it get its group
};

Result<std::unique_ptr<LayerWriter>> LayerWriter::Create(const std::string& root, std::string name,
                                                         LayerWriterLimits limits) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::unique_ptr<LayerWriter> writer(new LayerWriter(std::move(fd), root, std::move(name), std::move(limits)));
  RETURN_IF_ERROR(writer->CheckSpace());
  return writer;
}

LayerWriter::LayerWriter(sys::UniqueFd root, std::string path, std::string name, LayerWriterLimits limits)
    : root_(std::move(root)), path_(std::move(path)), name_(std::move(name)), limits_(std::move(limits)) {}

Status LayerWriter::Failed(int err, std::string_view what, const std::string& entry) const {
  if (err == ENOSPC || err == EDQUOT) {
    return ResourceExhausted(
        fmt::format("{} \"{}\" of {}: no space left on the filesystem of {}", what, Printable(entry), name_, path_));
  }
  return ErrnoError(err, fmt::format("{} \"{}\" of {}", what, Printable(entry), name_));
}

void LayerWriter::Warn(std::string text) {
  if (warnings_.size() < kMaxWarnings) warnings_.push_back(std::move(text));
}

Status LayerWriter::CheckSpace() {
  struct statvfs fs {};
  if (::fstatvfs(root_.get(), &fs) != 0) return ErrnoError(errno, fmt::format("statvfs {}", path_));
  uint64_t free = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
  // On a small filesystem the reserve is a twentieth of it, or nothing would ever fit.
  uint64_t reserve = std::min(limits_.min_free_bytes, static_cast<uint64_t>(fs.f_blocks) * fs.f_frsize / 20);
  if (free < reserve) {
    return ResourceExhausted(fmt::format("no space left on the filesystem of {}: {} are free, {} of them are kept",
                                         path_, HumanBytes(free), HumanBytes(reserve)));
  }
  unchecked_bytes_ = 0;
  return {};
}

Status LayerWriter::Charge(uint64_t bytes) {
  if (bytes > limits_.max_bytes - totals_.size) {
    return ResourceExhausted(fmt::format("{} unpacks to more than {}", name_, HumanBytes(limits_.max_bytes)));
  }
  totals_.size += bytes;
  if (limits_.charge) RETURN_IF_ERROR(limits_.charge(bytes));
  unchecked_bytes_ += bytes;
  if (unchecked_bytes_ >= kSpaceCheckBytes) return CheckSpace();
  return {};
}

// mkdir -p of a parent that has no entry of its own. Only names that are missing are made; whatever is
// there is resolved by the kernel, inside the root.
Status LayerWriter::MakeParents(const std::string& parent) {
  size_t at = 0;
  while (at <= parent.size()) {
    size_t slash = std::min(parent.find('/', at), parent.size());
    std::string path = parent.substr(0, slash);
    at = slash + 1;
    Result<sys::UniqueFd> there = sys::OpenInRoot(root_.get(), path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (there.ok()) continue;
    if (there.code() != StatusCode::kNotFound) return there.status().Annotate(name_);
    SplitName split = SplitPath(path);
    ASSIGN_OR_RETURN_WITH(
        sys::UniqueFd above,
        sys::OpenInRoot(root_.get(), split.parent.empty() ? "." : split.parent, O_PATH | O_DIRECTORY | O_CLOEXEC),
        name_);
    if (::mkdirat(above.get(), split.base.c_str(), 0755) != 0) {
      // A dangling symlink: there is no directory in this layer, and none to make.
      if (errno == EEXIST) {
        return InvalidArgument(
            fmt::format("\"{}\" of {} is a symbolic link to nothing in this layer", Printable(path), name_));
      }
      return Failed(errno, "mkdir", path);
    }
    totals_.entries += 1;
    if (implicit_.size() >= kMaxDirectories)
      return ResourceExhausted(fmt::format("{} has too many directories", name_));
    implicit_.insert(path);
  }
  return {};
}

// Also sets cached_physical_.
Result<sys::UniqueFd> LayerWriter::OpenParent(const std::string& parent) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  if (journal_ != nullptr) {
    Result<sys::UniqueFd> fd = sys::OpenBeneath(root_.get(), parent, kFlags);
    if (fd.ok()) {
      cached_physical_ = parent;
      return fd;
    }
    // Not there, or there is a symbolic link on the way.
  }
  Result<sys::UniqueFd> fd = sys::OpenInRoot(root_.get(), parent, kFlags);
  if (journal_ != nullptr && fd.ok()) cached_physical_ = WhereItIs(fd->get());
  return fd;
}

// The path in the layer of a directory that was reached through symbolic links.
std::string LayerWriter::WhereItIs(int directory) {
  auto path_of = [](int fd) {
    std::string path(8192, '\0');
    const ssize_t n = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path.data(), path.size());
    path.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return path;
  };
  const std::string root = path_of(root_.get());
  const std::string path = path_of(directory);
  if (!root.empty() && path == root) return {};
  if (!root.empty() && path.starts_with(root + "/")) return path.substr(root.size() + 1);
  journal_->Inexact("a path with symbolic links could not be resolved");
  return {};
}

std::string LayerWriter::Physical(const Place& place) const {
  if (place.parent == root_.get() || cached_physical_.empty()) return place.base;
  return cached_physical_ + "/" + place.base;
}

Result<int> LayerWriter::Parent(const std::string& parent) {
  if (parent.empty()) {
    // The root itself: never cached, its descriptor is there anyway.
    return root_.get();
  }
  if (cached_fd_.valid() && cached_parent_ == parent) return cached_fd_.get();
  Result<sys::UniqueFd> fd = OpenParent(parent);
  if (!fd.ok()) {
    if (fd.code() != StatusCode::kNotFound) {
      return InvalidArgument(fmt::format("\"{}\" of {} is not a directory of the layer ({})", Printable(parent), name_,
                                         fd.status().message()));
    }
    RETURN_IF_ERROR(MakeParents(parent));
    fd = OpenParent(parent);
    if (!fd.ok()) return fd.status().Annotate(name_);
  }
  struct stat st {};
  if (::fstat(fd->get(), &st) != 0) return Failed(errno, "stat", parent);
  cached_setgid_ = (st.st_mode & S_ISGID) != 0;
  cached_fd_ = std::move(*fd);
  cached_parent_ = parent;
  return cached_fd_.get();
}

Result<LayerWriter::Place> LayerWriter::Locate(const std::string& clean) {
  SplitName split = SplitPath(clean);
  if (HasWhiteoutPart(split.parent)) {
    return InvalidArgument(fmt::format("entry \"{}\" of {} lies below a whiteout", Printable(clean), name_));
  }
  Place place;
  ASSIGN_OR_RETURN(place.parent, Parent(split.parent));
  place.setgid = split.parent.empty() || cached_setgid_;
  place.base = std::move(split.base);
  place.clean = clean;
  return place;
}

// Removes what an earlier entry of the same name left.
Status LayerWriter::Replace(const Place& place) {
  bool kept = false;
  if (journal_ != nullptr) {
    ASSIGN_OR_RETURN_WITH(kept, journal_->SetAside(place.parent, place.base, Physical(place)), name_);
  }
  if (!kept) RETURN_IF_ERROR(RemoveAt(place.parent, place.base).Annotate(name_));
  // The removed name can have been a directory (or link) on the way to the cached parent.
  if (cached_fd_.valid() && place.parent != cached_fd_.get()) {
    cached_fd_.reset();
    cached_parent_.clear();
  }
  return {};
}

Status LayerWriter::WriteAll(TarReader& tar) {
  while (true) {
    ASSIGN_OR_RETURN_WITH(std::optional<TarEntry> entry, tar.Next(), name_);
    if (!entry) break;
    RETURN_IF_ERROR(Write(*entry, tar));
  }
  return Finish();
}

Status LayerWriter::Write(const TarEntry& entry, TarReader& tar) {
  ASSIGN_OR_RETURN_WITH(std::string clean, CleanName(entry.name), name_);
  if (entry.type == TarType::kDirectory && (clean.empty() || !SplitPath(clean).base.starts_with(kWhiteoutPrefix))) {
    return WriteDirectory(entry, clean);
  }
  if (clean.empty())
    return InvalidArgument(fmt::format("entry \"{}\" of {} is not a directory", Printable(entry.name), name_));
  std::string base = SplitPath(clean).base;
  if (base.starts_with(kWhiteoutPrefix)) return WriteWhiteout(clean, base);
  ASSIGN_OR_RETURN(Place place, Locate(clean));
  switch (entry.type) {
    case TarType::kRegular:
      return WriteRegular(entry, place, tar);
    case TarType::kHardLink:
    case TarType::kSymlink:
      return WriteLink(entry, place);
    default:
      return WriteNode(entry, place);
  }
}

Status LayerWriter::WriteData(const TarEntry& entry, const Place& place, TarReader& tar, int fd) {
  size_t next = 0;    // of the extents
  uint64_t room = 0;  // in the extent that is being filled
  uint32_t checksum = 0;
  while (true) {
    ASSIGN_OR_RETURN(std::string_view piece, tar.Data());
    if (piece.empty()) break;
    if (journal_ != nullptr) checksum = JournalChecksum(checksum, piece);
    while (!piece.empty()) {
      if (entry.sparse && room == 0) {
        if (next == entry.extents.size()) return Internal(fmt::format("\"{}\": data behind its map", place.clean));
        room = entry.extents[next].length;
        if (::lseek(fd, static_cast<off_t>(entry.extents[next++].offset), SEEK_SET) < 0)
          return Failed(errno, "seek in", place.clean);
      }
      const size_t size = entry.sparse ? std::min<uint64_t>(piece.size(), room) : piece.size();
      ssize_t n = ::write(fd, piece.data(), size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed(errno, "write", place.clean);
      piece.remove_prefix(static_cast<size_t>(n));
      if (entry.sparse) room -= static_cast<uint64_t>(n);
    }
  }
  if (entry.sparse && ::ftruncate(fd, static_cast<off_t>(entry.size)) != 0) return Failed(errno, "extend", place.clean);
  if (journal_ == nullptr) return {};
  if (entry.sparse) return journal_->File(Physical(place), entry.extents, checksum);
  return journal_->File(Physical(place), entry.size, checksum);
}

Status LayerWriter::WriteRegular(const TarEntry& entry, const Place& place, TarReader& tar) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  uint64_t stored = entry.sparse ? 0 : entry.size;
  for (const SparseExtent& extent : entry.extents) stored += extent.length;  // holes take no room
  RETURN_IF_ERROR(Charge(stored));
  sys::UniqueFd fd(::openat(place.parent, place.base.c_str(), kFlags, 0600));
  if (!fd.valid() && errno == EEXIST) {
    RETURN_IF_ERROR(Replace(place));
    fd.reset(::openat(place.parent, place.base.c_str(), kFlags, 0600));
  }
  if (!fd.valid()) return Failed(errno, "create", place.clean);
  totals_.entries += 1;
  RETURN_IF_ERROR(WriteData(entry, place, tar, fd.get()));
  // Owner first: chown clears setuid bits and capabilities.
  if ((entry.uid != 0 || entry.gid != 0 || place.setgid) && ::fchown(fd.get(), entry.uid, entry.gid) != 0) {
    return Failed(errno, "chown", place.clean);
  }
  if (::fchmod(fd.get(), entry.mode) != 0) return Failed(errno, "chmod", place.clean);
  if (!entry.xattrs.empty()) RETURN_IF_ERROR(SetXattrs(entry, fd.get(), ""));
  timespec times[2] = {ToTimespec(entry.mtime_seconds, entry.mtime_nanos),
                       ToTimespec(entry.mtime_seconds, entry.mtime_nanos)};
  if (::futimens(fd.get(), times) != 0) return Failed(errno, "set the time of", place.clean);
  return {};
}

Status LayerWriter::WriteDirectory(const TarEntry& entry, const std::string& clean) {
  sys::UniqueFd fd;
  if (clean.empty()) {
    ASSIGN_OR_RETURN(fd, sys::Open(path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  } else {
    ASSIGN_OR_RETURN(Place place, Locate(clean));
    bool made = ::mkdirat(place.parent, place.base.c_str(), 0755) == 0;
    bool was_whiteout = false;
    if (!made) {
      if (errno != EEXIST) return Failed(errno, "mkdir", clean);
      struct stat st {};
      if (::fstatat(place.parent, place.base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
        return Failed(errno, "stat", clean);
      if (!S_ISDIR(st.st_mode)) {
        was_whiteout = IsWhiteout(st);
        RETURN_IF_ERROR(Replace(place));
        if (::mkdirat(place.parent, place.base.c_str(), 0755) != 0) return Failed(errno, "mkdir", clean);
        made = true;
      }
    }
    if (made) totals_.entries += 1;
    fd.reset(::openat(place.parent, place.base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return Failed(errno, "open", clean);
    // Deleted and made again in one layer: what is below it in lower layers stays deleted.
    if (was_whiteout) RETURN_IF_ERROR(MarkOpaque(fd.get()).Annotate(clean));
  }
  if (::fchown(fd.get(), entry.uid, entry.gid) != 0) return Failed(errno, "chown", clean);
  if (::fchmod(fd.get(), entry.mode) != 0) return Failed(errno, "chmod", clean);
  if (!entry.xattrs.empty()) RETURN_IF_ERROR(SetXattrs(entry, fd.get(), ""));
  if (clean == cached_parent_) cached_setgid_ = (entry.mode & S_ISGID) != 0;
  implicit_.erase(clean);
  if (directories_.size() >= kMaxDirectories)
    return ResourceExhausted(fmt::format("{} has too many directories", name_));
  directories_[clean] = {entry.mtime_seconds, entry.mtime_nanos};
  return {};
}

Status LayerWriter::WriteLink(const TarEntry& entry, const Place& place) {
  if (entry.type == TarType::kSymlink) {
    // The target is text for the container: it is never resolved here but inside the root.
    if (::symlinkat(entry.link_name.c_str(), place.parent, place.base.c_str()) != 0) {
      if (errno != EEXIST) return Failed(errno, "symlink", place.clean);
      RETURN_IF_ERROR(Replace(place));
      if (::symlinkat(entry.link_name.c_str(), place.parent, place.base.c_str()) != 0) {
        return Failed(errno, "symlink", place.clean);
      }
    }
    totals_.entries += 1;
    return SetMetadataAt(entry, place);
  }
  return WriteHardLink(entry, place);
}

Status LayerWriter::WriteHardLink(const TarEntry& entry, const Place& place) {
  auto wrong = [&](std::string_view why) {
    return InvalidArgument(fmt::format("hard link \"{}\" of {} to \"{}\": {}", Printable(place.clean), name_,
                                       Printable(entry.link_name), why));
  };
  Result<std::string> target = CleanName(entry.link_name);
  if (!target.ok() || target->empty()) return wrong("the target is no path in the layer");
  if (*target == place.clean) return {};  // to itself: tar writes that for a file listed twice
  SplitName split = SplitPath(*target);
  if (split.base.starts_with(kWhiteoutPrefix) || HasWhiteoutPart(split.parent))
    return wrong("the target is a whiteout");
  Result<sys::UniqueFd> dir =
      sys::OpenInRoot(root_.get(), split.parent.empty() ? "." : split.parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct stat st {};
  if (!dir.ok() && dir.code() != StatusCode::kNotFound) return wrong("the target is no path in the layer");
  if (!dir.ok() || ::fstatat(dir->get(), split.base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (HidesBelow(split.parent)) return wrong("the target is not in this layer, which hides those below");
    return WritePlaceholder(*target, place);
  }
  if (S_ISDIR(st.st_mode)) return wrong("the target is a directory");
  if (IsWhiteout(st)) return wrong("the target was deleted by this layer");
  // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is a second name of that link.
  if (::linkat(dir->get(), split.base.c_str(), place.parent, place.base.c_str(), 0) != 0) {
    if (errno != EEXIST) return Failed(errno, "link", place.clean);
    struct stat there {};
    if (::fstatat(place.parent, place.base.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == st.st_ino)
      return {};
    // The target may lie below what is being replaced; then it is not there any more.
    RETURN_IF_ERROR(Replace(place));
    dir = sys::OpenInRoot(root_.get(), split.parent.empty() ? "." : split.parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!dir.ok()) return Failed(ENOENT, "link", place.clean);
    if (::linkat(dir->get(), split.base.c_str(), place.parent, place.base.c_str(), 0) != 0)
      return Failed(errno, "link", place.clean);
  }
  auto placeholder = placeholders_.find(st.st_ino);
  if (placeholder == placeholders_.end()) return {};
  RETURN_IF_ERROR(CountLinkBelow(place.clean));
  links_[placeholder->second].names.push_back(place.clean);
  return {};
}

Status LayerWriter::CountLinkBelow(const std::string& name) {
  link_bytes_ += name.size();
  if (++link_names_ > kMaxLinksBelow || link_bytes_ > kMaxLinkBytes) {
    return ResourceExhausted(fmt::format("{} has more than {} hard links to lower layers, or longer names than {}",
                                         name_, kMaxLinksBelow, HumanBytes(kMaxLinkBytes)));
  }
  return {};
}

// An empty file that the layers below give its content: further links to it are links of this one file, and a later
// entry of its name replaces it, as with any other. A second name keeps its inode number from being given to another.
Status LayerWriter::WritePlaceholder(const std::string& target, const Place& place) {
  RETURN_IF_ERROR(CountLinkBelow(place.clean + target));
  const std::string keeper = KeeperName(links_.size());
  sys::UniqueFd fd(::openat(root_.get(), keeper.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  struct stat st {};
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return Failed(errno, "create", place.clean);
  if (::linkat(root_.get(), keeper.c_str(), place.parent, place.base.c_str(), 0) != 0) {
    if (errno != EEXIST) return Failed(errno, "link", place.clean);
    RETURN_IF_ERROR(Replace(place));
    if (::linkat(root_.get(), keeper.c_str(), place.parent, place.base.c_str(), 0) != 0)
      return Failed(errno, "link", place.clean);
  }
  totals_.entries += 1;
  placeholders_[st.st_ino] = links_.size();
  links_.push_back({target, {place.clean}});
  return {};
}

Status LayerWriter::WriteNode(const TarEntry& entry, const Place& place) {
  const mode_t mode = TypeBits(entry.type) | 0600;
  const dev_t device = entry.type == TarType::kFifo ? 0 : ::makedev(entry.device_major, entry.device_minor);
  if (::mknodat(place.parent, place.base.c_str(), mode, device) != 0) {
    if (errno != EEXIST) return Failed(errno, "mknod", place.clean);
    RETURN_IF_ERROR(Replace(place));
    if (::mknodat(place.parent, place.base.c_str(), mode, device) != 0) return Failed(errno, "mknod", place.clean);
  }
  totals_.entries += 1;
  return SetMetadataAt(entry, place);
}

// For what cannot be opened: symbolic links, devices, FIFOs.
Status LayerWriter::SetMetadataAt(const TarEntry& entry, const Place& place) {
  if (::fchownat(place.parent, place.base.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed(errno, "chown", place.clean);
  }
  // fchmodat follows links, but what stands here was made by us just now and is none.
  if (entry.type != TarType::kSymlink && ::fchmodat(place.parent, place.base.c_str(), entry.mode, 0) != 0) {
    return Failed(errno, "chmod", place.clean);
  }
  if (!entry.xattrs.empty()) {
    RETURN_IF_ERROR(SetXattrs(entry, -1, fmt::format("/proc/self/fd/{}/{}", place.parent, place.base)));
  }
  timespec times[2] = {ToTimespec(entry.mtime_seconds, entry.mtime_nanos),
                       ToTimespec(entry.mtime_seconds, entry.mtime_nanos)};
  if (::utimensat(place.parent, place.base.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed(errno, "set the time of", place.clean);
  }
  return {};
}

Status LayerWriter::SetXattrs(const TarEntry& entry, int fd, const std::string& path_for_links) {
  for (const auto& [name, value] : entry.xattrs) {
    XattrRule rule = RuleFor(name);
    if (rule == XattrRule::kRefuse) {
      return InvalidArgument(fmt::format("entry \"{}\" of {} has the attribute {}, which steers overlayfs",
                                         Printable(entry.name), name_, Printable(name)));
    }
    if (rule == XattrRule::kSkip) continue;
    int rc = fd >= 0 ? ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0)
                     : ::lsetxattr(path_for_links.c_str(), name.c_str(), value.data(), value.size(), 0);
    if (rc == 0) continue;
    const int err = errno;
    // user.* is not possible on symbolic links and devices (EPERM), nor on every filesystem.
    if (name != "security.capability" && (err == ENOTSUP || (err == EPERM && fd < 0))) {
      Warn(fmt::format("attribute {} of \"{}\" is not supported here and was left out", Printable(name),
                       Printable(entry.name)));
      continue;
    }
    return Failed(err, fmt::format("set attribute {} of", Printable(name)), entry.name);
  }
  return {};
}

Status LayerWriter::WriteWhiteout(const std::string& clean, std::string_view base) {
  if (base == ".wh..wh..opq") {
    ASSIGN_OR_RETURN(Place place, Locate(clean));
    return MarkOpaque(place.parent).Annotate(clean);
  }
  if (base.starts_with(".wh..wh.")) return {};
  std::string target(base.substr(kWhiteoutPrefix.size()));
  if (target.empty() || target == "." || target == "..") {
    return InvalidArgument(fmt::format("whiteout \"{}\" of {} names nothing", Printable(clean), name_));
  }
  ASSIGN_OR_RETURN(Place place, Locate(clean));
  if (::mknodat(place.parent, target.c_str(), S_IFCHR, ::makedev(0, 0)) == 0) {
    totals_.entries += 1;
    whiteouts_.insert(SplitPath(clean).parent);
    if (whiteouts_.size() > kMaxDirectories)
      return ResourceExhausted(fmt::format("{} has too many directories", name_));
    return {};
  }
  if (errno != EEXIST) return Failed(errno, "mark deleted", clean);
  // This layer has the name too. Whiteouts speak of lower layers only, and a file hides those by itself;
  // a directory must be told to.
  struct stat st {};
  if (::fstatat(place.parent, target.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed(errno, "stat", clean);
  if (!S_ISDIR(st.st_mode)) return {};
  sys::UniqueFd dir(::openat(place.parent, target.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir.valid()) return Failed(errno, "mark opaque", clean);
  return MarkOpaque(dir.get()).Annotate(clean);
}

Status LayerWriter::Finish() {
  cached_fd_.reset();
  cached_parent_.clear();
  // Before the times, which these change.
  RETURN_IF_ERROR(DropOwnWhiteouts());
  ForgetReplacedLinks();
  for (const auto& [path, time] : directories_) {
    Result<sys::UniqueFd> fd =
        sys::OpenInRoot(root_.get(), path.empty() ? "." : path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (!fd.ok()) continue;  // replaced by something else later in the archive
    timespec times[2] = {ToTimespec(time.seconds, time.nanos), ToTimespec(time.seconds, time.nanos)};
    if (::futimens(fd->get(), times) != 0) return Failed(errno, "set the time of", path);
  }
  return CheckSpace();
}

// True when the layer shows nothing of those below in this directory: it or one above it is opaque.
bool LayerWriter::HidesBelow(const std::string& directory) const {
  for (std::string at = directory; !at.empty(); at = SplitPath(at).parent) {
    Result<sys::UniqueFd> fd = sys::OpenInRoot(root_.get(), at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd.ok() && IsOpaque(fd->get())) return true;
  }
  return IsOpaque(root_.get());
}

// Whiteouts where the layer hides all below mark nothing, and overlayfs would show them: it merges nothing there.
Status LayerWriter::DropOwnWhiteouts() {
  for (auto it = whiteouts_.begin(); it != whiteouts_.end();) {
    const std::string path = it->empty() ? "." : *it;
    Result<sys::UniqueFd> fd = sys::OpenInRoot(root_.get(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool gone = !fd.ok();  // replaced later in the archive
    if (!gone && !HidesBelow(*it)) {
      ++it;
      continue;
    }
    if (!gone) {
      ASSIGN_OR_RETURN_WITH(uint64_t removed, RemoveWhiteouts(fd->get()), name_);
      totals_.entries -= removed;
    }
    it = whiteouts_.erase(it);
  }
  return {};
}

// Of the names that were links to lower layers, those that a later entry has replaced.
void LayerWriter::ForgetReplacedLinks() {
  for (const auto& [inode, index] : placeholders_) {
    std::erase_if(links_[index].names, [&, inode = inode](const std::string& name) {
      SplitName split = SplitPath(name);
      Result<sys::UniqueFd> parent =
          sys::OpenInRoot(root_.get(), split.parent.empty() ? "." : split.parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
      struct stat st {};
      return !parent.ok() || ::fstatat(parent->get(), split.base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 ||
             st.st_ino != inode;
    });
  }
  for (size_t i = 0; i < links_.size(); ++i) ::unlinkat(root_.get(), KeeperName(i).c_str(), 0);
  std::erase_if(links_, [](const LinkBelow& link) { return link.names.empty(); });
  placeholders_.clear();
}

}  // namespace davit::image
