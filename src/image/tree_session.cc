#include "image/tree_session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/strings.h"
#include "image/decompress.h"
#include "image/tar_writer.h"
#include "image/tree_archive.h"
#include "image/tree_messages.h"
#include "image/tree_unpack.h"
#include "sys/idmap.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr size_t kPiece = 64 << 10;
constexpr size_t kPackedPiece = 8 << 10;  // gzip makes at most a thousand times as much of it
constexpr size_t kMaxPath = 4096;

// Standard input, unpacked.
class UnpackedInput final : public ByteSource, private OutputSink {
 public:
  explicit UnpackedInput(int fd) : fd_(fd), in_(kPackedPiece, '\0') {}

  Result<std::string_view> Next() override {
    out_size_ = 0;
    while (out_size_ == 0 && !ended_) {
      ASSIGN_OR_RETURN(std::string_view piece, Read());
      if (piece.empty()) {
        ended_ = true;
        if (decompressor_) RETURN_IF_ERROR(decompressor_->Finish());
        break;
      }
      if (!decompressor_) {
        ASSIGN_OR_RETURN(Compression compression, DetectCompression(piece));
        ASSIGN_OR_RETURN(decompressor_, Decompressor::Create(compression));
      }
      RETURN_IF_ERROR(decompressor_->Write(piece, *this));
    }
    return std::string_view(out_).substr(0, out_size_);
  }

 private:
  // The first piece has enough to tell what it is.
  Result<std::string_view> Read() {
    size_t have = 0;
    while (have < in_.size() && (have == 0 || (!decompressor_ && have < kMagicBytes))) {
      const ssize_t n = ::read(fd_, in_.data() + have, in_.size() - have);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read the archive");
      if (n == 0) break;
      have += static_cast<size_t>(n);
    }
    return std::string_view(in_).substr(0, have);
  }
  Result<Space> GetSpace() override {
    if (out_.size() - out_size_ < kPiece) out_.resize(out_size_ + kPiece);
    return Space{out_.data() + out_size_, out_.size() - out_size_};
  }
  Status Produced(size_t bytes) override {
    out_size_ += bytes;
    return {};
  }

  int fd_;
  std::string in_;
  std::string out_;
  size_t out_size_ = 0;
  bool ended_ = false;
  std::unique_ptr<Decompressor> decompressor_;
};

// What a path of the container is called: its clean parts, ".." as on the way from the root.
std::vector<std::string> Parts(const std::string& path) {
  std::vector<std::string> parts;
  for (std::string& part : Split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(std::move(part));
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return parts;
}

std::string PathOf(int fd) {
  std::string path(kMaxPath, '\0');
  const ssize_t n = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path.data(), path.size());
  path.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return path;
}

class Session {
 public:
  explicit Session(TreeJob job) : job_(std::move(job)) {}

  Status Run() {
    RETURN_IF_ERROR(OpenRoot());
    if (job_.verb == "stat") return Find(job_.path).status();
    if (job_.verb == "read") return Read();
    if (job_.verb == "write") return Write();
    if (job_.verb == "export" || job_.verb == "layer") return Whole();
    return InvalidArgument("no such verb: " + Printable(job_.verb));
  }

 private:
  Status OpenRoot() {
    if (job_.root.empty()) {
      root_.reset(kTreeRootFd);
      return {};
    }
    ASSIGN_OR_RETURN(root_, sys::Open(job_.root, O_PATH | O_DIRECTORY));
    for (const TreeMount& mount : job_.mounts)
      RETURN_IF_ERROR(Attach(mount).Annotate("mount at " + Printable(mount.target, 300)));
    if (!job_.read_only) return {};
    return SetReadOnly(root_.get());
  }

  static Status SetReadOnly(int tree) {
    mount_attr attributes = {};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    if (::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0) return {};
    return ErrnoError(errno, "make the mount read-only");
  }

  // In this process's own mount namespace. What the node has not any more is left out.
  Status Attach(const TreeMount& mount) {
    struct stat info {};
    if (::stat(mount.source.c_str(), &info) != 0) return {};
    ASSIGN_OR_RETURN(sys::UniqueFd tree, sys::CloneMount(mount.source, /*recursive=*/true));
    Result<sys::UniqueFd> target = sys::OpenInRoot(root_.get(), mount.target, O_PATH);
    if (target.code() == StatusCode::kNotFound && S_ISDIR(info.st_mode)) {
      target = sys::MakeDirectoriesInRoot(root_.get(), mount.target, 0755);
    }
    if (target.code() == StatusCode::kNotFound)
      return {};  // a file of the node; the runtime makes its place at the start
    if (!target.ok()) return target.status();
    struct stat place {};
    if (::fstat(target->get(), &place) != 0 || S_ISDIR(place.st_mode) != S_ISDIR(info.st_mode)) return {};
    if (mount.read_only) RETURN_IF_ERROR(SetReadOnly(tree.get()));
    constexpr unsigned kEmptyPaths = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    if (::syscall(SYS_move_mount, tree.get(), "", target->get(), "", kEmptyPaths) == 0) return {};
    return ErrnoError(errno, "attach the mount");
  }

  struct Found {
    sys::UniqueFd parent;  // open directory
    std::string base;      // in it; "." of the root, and of a path that ends with "/" or "/."
    std::string name;      // as it is called
  };

  // Looks, and reports what is there.
  Result<Found> Find(const std::string& path) {
    if (path.find('\0') != std::string::npos || path.size() >= kMaxPath) return InvalidArgument("the path is too long");
    const std::vector<std::string> parts = Parts(path);
    // As lstat(2) has it: such an end means what a link leads to.
    const bool follow = path.ends_with("/") || path.ends_with("/.") || parts.empty();
    Found found;
    found.name = parts.empty() ? "/" : parts.back();
    std::string parent = "/" + Join({parts.begin(), parts.end() - (parts.empty() ? 0 : 1)}, "/");
    found.base = follow ? "." : found.name;
    if (follow) parent = "/" + Join(parts, "/");
    ASSIGN_OR_RETURN(found.parent, sys::OpenInRoot(root_.get(), parent, O_RDONLY | O_DIRECTORY | O_NONBLOCK));
    struct stat info {};
    if (::fstatat(found.parent.get(), found.base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoError(errno, Printable(path, 300));
    }
    TreeStat stat;
    stat.name = found.name;
    stat.size = info.st_size;
    stat.mode = info.st_mode;
    stat.modified_at = info.st_mtim.tv_sec * INT64_C(1'000'000'000) + info.st_mtim.tv_nsec;
    if (S_ISLNK(info.st_mode)) stat.link_target = Target(parent, found);
    TreeReport report;
    report.stat = std::move(stat);
    RETURN_IF_ERROR(sys::WriteAll(kTreeReportFd, EncodeTreeReport(report)));
    return found;
  }

  // Where a symbolic link leads, as a path of the container; of one that leads nowhere what it says.
  std::string Target(const std::string& parent, const Found& found) {
    Result<sys::UniqueFd> target = sys::OpenInRoot(root_.get(), parent + "/" + found.base, O_PATH);
    const std::string root = PathOf(root_.get());
    if (target.ok()) {
      std::string path = PathOf(target->get());
      if (root == "/" && !path.empty()) return path;
      if (path == root) return "/";
      if (!root.empty() && path.starts_with(root + "/")) return path.substr(root.size());
    }
    std::string text(kMaxPath, '\0');
    const ssize_t n = ::readlinkat(found.parent.get(), found.base.c_str(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return "/" + Join(Parts(text.starts_with('/') ? text : parent + "/" + text), "/");
  }

  Status Read() {
    ASSIGN_OR_RETURN(const Found found, Find(job_.path));
    TarWriter tar([](std::string_view bytes) { return sys::WriteAll(STDOUT_FILENO, bytes); });
    TreeArchive::Options options;
    options.ids = {job_.ids_outside, job_.ids_length};
    TreeArchive archive(tar, options);
    RETURN_IF_ERROR(archive.Add(found.parent.get(), found.base, found.name));
    return tar.Finish();
  }

  Status Whole() {
    TarWriter tar([](std::string_view bytes) { return sys::WriteAll(STDOUT_FILENO, bytes); });
    TreeArchive::Options options;
    options.layer = job_.verb == "layer";
    options.ids = {job_.ids_outside, job_.ids_length};
    options.leave_out = {job_.leave_out.begin(), job_.leave_out.end()};
    TreeArchive archive(tar, options);
    RETURN_IF_ERROR(archive.AddRoot(root_.get()));
    return tar.Finish();
  }

  Status Write() {
    ASSIGN_OR_RETURN_WITH(sys::UniqueFd directory, sys::OpenInRoot(root_.get(), "/" + job_.path, O_PATH),
                          "the directory");
    struct stat info {};
    if (::fstat(directory.get(), &info) != 0 || !S_ISDIR(info.st_mode)) {
      return InvalidArgument(Printable(job_.path, 300) + " is not a directory");
    }
    UnpackedInput input(STDIN_FILENO);
    TarReader tar(input);
    TreeUnpackOptions options;
    options.ids = {job_.ids_outside, job_.ids_length};
    options.copy_ids = job_.copy_ids;
    options.no_overwrite_dir_non_dir = job_.no_overwrite_dir_non_dir;
    TreeUnpack unpack(root_.get(), "/" + job_.path, options);
    RETURN_IF_ERROR(unpack.WriteAll(tar));
    return tar.Drain();
  }

  const TreeJob job_;
  sys::UniqueFd root_;
};

}  // namespace

Status RunTreeSession() {
  Status status = [] {
    ASSIGN_OR_RETURN(std::string text, sys::ReadAll(kTreeJobFd, kMaxTreeJobBytes));
    ASSIGN_OR_RETURN(TreeJob job, DecodeTreeJob(text));
    return Session(std::move(job)).Run();
  }();
  TreeReport report;
  report.done = true;
  report.code = static_cast<int>(status.code());
  report.message = status.message();
  RETURN_IF_ERROR(sys::WriteAll(kTreeReportFd, EncodeTreeReport(report)));
  return status;
}

}  // namespace davit::image
