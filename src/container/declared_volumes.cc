#include "container/declared_volumes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/fault.h"
#include "base/strings.h"
#include "container/mounts.h"
#include "sys/atomic_file.h"
#include "sys/copy_tree.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr size_t kMaxVolumes = 128;

// As the path would be walked from "/": the parent of the root is the root.
std::string Walked(const std::string& path) {
  std::vector<std::string> parts;
  for (std::string& part : Split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(std::move(part));
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return "/" + Join(parts, "/");
}

// Whether a directory of the image is its /proc: a volume named by a link would cover the kernel's.
bool IsProcOfImage(int rootfs_fd, int directory) {
  std::error_code failed;
  auto path = [&](int fd) { return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), failed); };
  const std::string root = path(rootfs_fd);
  const std::string inside = path(directory);
  return failed || (inside.starts_with(root) && IsInProc(inside.substr(root.size())));
}

}  // namespace

Result<std::vector<std::string>> DeclaredVolumes(const std::vector<std::string>& declared,
                                                 const std::vector<oci::SpecMount>& mounts) {
  if (declared.size() > kMaxVolumes) return InvalidArgument("the image declares more than 128 volumes");
  std::vector<std::string> paths;
  for (const std::string& raw : declared) {
    std::string path = Walked(raw);
    for (const char* reserved : {"/", "/sys", "/dev"}) {
      if (path == reserved) return InvalidArgument("the image declares a volume at " + path);
    }
    if (IsInProc(path)) return InvalidArgument("the image declares a volume at " + Printable(path));
    bool taken =
        std::any_of(mounts.begin(), mounts.end(), [&](const auto& mount) { return mount.destination == path; });
    if (!taken) paths.push_back(std::move(path));
  }
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  return paths;
}

Result<std::vector<oci::SpecMount>> MakeDeclaredVolumes(const std::vector<std::string>& paths, int rootfs_fd,
                                                        const std::string& directory, VolumeOwner owner,
                                                        Deadline deadline) {
  std::vector<oci::SpecMount> mounts;
  for (size_t i = 0; i < paths.size(); ++i) {
    const std::string volume = directory + "/" + std::to_string(i);
    RETURN_IF_ERROR(sys::MakeDirectories(volume, 0700));
    FaultPoint("container.volumes.directory");
    RETURN_IF_ERROR(
        FillFromImage(rootfs_fd, paths[i], volume, owner, deadline).Annotate("volume " + Printable(paths[i], 512)));
    mounts.push_back({paths[i], "bind", volume, {"rbind", "rprivate", "rw"}, {}, {}});
  }
  return mounts;
}

Status FillFromImage(int rootfs_fd, const std::string& path, const std::string& directory, VolumeOwner owner,
                     Deadline deadline) {
  Result<sys::UniqueFd> source = sys::OpenInRoot(rootfs_fd, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (source.code() == StatusCode::kNotFound) {
    if (::chown(directory.c_str(), owner.uid, owner.gid) != 0) return ErrnoError(errno, "chown " + directory);
    return ::chmod(directory.c_str(), 0755) == 0 ? Status() : ErrnoError(errno, "chmod " + directory);
  }
  if (!source.ok()) return InvalidArgument("not a directory in the image: " + source.status().message());
  if (IsProcOfImage(rootfs_fd, source->get())) return InvalidArgument("it is the image's /proc");
  ASSIGN_OR_RETURN(sys::UniqueFd target, sys::Open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return sys::CopyTree(source->get(), target.get(), {}, deadline);
}

}  // namespace davit::container
