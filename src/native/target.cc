#include "native/target.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"
#include "sys/rooted.h"

namespace davit::native {
namespace {

constexpr unsigned kDirectoryMode = 0755;
constexpr int kMaxLinks = 40;  // as the kernel counts (path_resolution(7))
constexpr size_t kMaxPath = 4096;

Result<sys::UniqueFd> OpenPlain(int root_fd, const std::string& path, int flags) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
  sys::UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof how)));
  if (fd.valid()) return fd;
  if (errno == ELOOP)
    return PermissionDenied(Printable(path) + ": a link is in the way, where a plain directory must be");
  return ErrnoError(errno, "open " + Printable(path));
}

bool IsDirectory(int fd) {
  struct stat st;
  return ::fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

// What a link that leads to nothing names, as a path of the root.
Result<std::string> Dangling(const Place& place, const std::string& path) {
  std::string target(kMaxPath, '\0');
  ssize_t n = ::readlinkat(place.directory.get(), place.name.c_str(), target.data(), target.size());
  if (n <= 0) return ErrnoError(errno, "read link " + Printable(path));
  target.resize(static_cast<size_t>(n));
  if (target.front() == '/') return target;
  return path.substr(0, path.rfind('/') + 1) + target;
}

}  // namespace

Result<sys::UniqueFd> OpenTarget(int root_fd, const std::string& path, bool plain) {
  return plain ? OpenPlain(root_fd, path, O_PATH) : sys::OpenInRoot(root_fd, path, O_PATH);
}

Result<sys::UniqueFd> MakeDirectoryTarget(int root_fd, const std::string& path, bool plain) {
  // It is there nearly always: one look-up instead of one for each part.
  Result<sys::UniqueFd> found = OpenTarget(root_fd, path, plain);
  if (found.ok() && !IsDirectory(found->get())) return InvalidArgument(Printable(path) + " is not a directory");
  if (found.ok() || found.code() != StatusCode::kNotFound) return found;
  ASSIGN_OR_RETURN(sys::UniqueFd made, sys::MakeDirectoriesInRoot(root_fd, path, kDirectoryMode));
  return plain ? OpenTarget(root_fd, path, plain) : std::move(made);
}

Result<Place> MakeParent(int root_fd, const std::string& path) {
  size_t slash = path.rfind('/');
  Place place;
  place.name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (place.name.empty() || place.name == "." || place.name == "..") {
    return InvalidArgument("\"" + Printable(path) + "\" does not end in a name");
  }
  std::string parent = slash == std::string::npos ? "/" : path.substr(0, slash + 1);
  ASSIGN_OR_RETURN(place.directory, MakeDirectoryTarget(root_fd, parent));
  return place;
}

Result<sys::UniqueFd> MakeFileTarget(int root_fd, const std::string& path) {
  std::string wanted = path;
  for (int links = 0; links < kMaxLinks; ++links) {
    Result<sys::UniqueFd> found = sys::OpenInRoot(root_fd, wanted, O_PATH);
    if (found.ok() && IsDirectory(found->get())) return InvalidArgument(Printable(path) + " is a directory");
    if (found.ok() || found.code() != StatusCode::kNotFound) return found;
    ASSIGN_OR_RETURN(Place place, MakeParent(root_fd, wanted));
    // mknod and not open: what stands there by now, a FIFO or a device, is not opened, and a link not followed.
    if (::mknodat(place.directory.get(), place.name.c_str(), S_IFREG | 0644, 0) == 0) continue;
    if (errno != EEXIST) return ErrnoError(errno, "make file " + Printable(path));
    Result<std::string> next = Dangling(place, wanted);
    if (next.ok()) wanted = *next;
  }
  return InvalidArgument(Printable(path) + ": too many links");
}

}  // namespace davit::native
