#include "sys/rooted.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/strings.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxPath = 4096;
constexpr int kMaxLinks = 40;  // as the kernel counts (path_resolution(7))

// A descriptor, or -1 with errno.
int OpenAs(int root_fd, const std::string& path, int flags, open_how how) {
  how.flags = static_cast<uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
  // EAGAIN: something was renamed or mounted during the walk, and ".." could not be proved safe.
  constexpr int kMaxAttempts = 128;
  for (int attempt = 0;; ++attempt) {
    int fd = static_cast<int>(::syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || attempt == kMaxAttempts) return fd;
  }
}

int OpenBelow(int root_fd, const std::string& path, int flags, unsigned mode) {
  open_how how = {};
  if ((flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) != 0) how.mode = mode;  // any other use is EINVAL
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return OpenAs(root_fd, path, flags, how);
}

Status CheckPath(const std::string& path) {
  if (path.size() < kMaxPath && path.find('\0') == std::string::npos) return {};
  return InvalidArgument("path \"" + Printable(path) + "\" is too long or has a NUL byte");
}

Result<std::string> ReadLinkAt(int directory, const std::string& name) {
  std::string target(kMaxPath, '\0');
  ssize_t n = ::readlinkat(directory, name.c_str(), target.data(), target.size());
  if (n < 0) return ErrnoError(errno, "read link " + name);
  target.resize(static_cast<size_t>(n));
  return target;
}

Result<UniqueFd> MakeDirectoriesLimited(int root_fd, const std::string& path, unsigned mode, int links);

// One more part below `prefix`, which is there.
Result<UniqueFd> MakePart(int root_fd, const std::string& prefix, const std::string& part, unsigned mode, int links) {
  const std::string whole = prefix + part;
  UniqueFd fd(OpenBelow(root_fd, whole, O_PATH | O_DIRECTORY, 0));
  if (fd.valid()) return fd;
  if (errno != ENOENT) return ErrnoError(errno, "open directory " + whole);
  ASSIGN_OR_RETURN(UniqueFd parent, OpenInRoot(root_fd, prefix, O_PATH | O_DIRECTORY));
  if (::mkdirat(parent.get(), part.c_str(), mode) != 0) {
    if (errno != EEXIST) return ErrnoError(errno, "make directory " + whole);
    // Made by somebody else meanwhile, or a link to what is not there: then that is what is made.
    Result<std::string> target = ReadLinkAt(parent.get(), part);
    if (target.ok() && !target->empty()) {
      if (links == 0) return InvalidArgument("make directory " + whole + ": too many links");
      std::string next = target->front() == '/' ? *target : prefix + *target;
      RETURN_IF_ERROR(MakeDirectoriesLimited(root_fd, next, mode, links - 1).status());
    }
  }
  return OpenInRoot(root_fd, whole, O_PATH | O_DIRECTORY);
}

Result<UniqueFd> MakeDirectoriesLimited(int root_fd, const std::string& path, unsigned mode, int links) {
  RETURN_IF_ERROR(CheckPath(path));
  ASSIGN_OR_RETURN(UniqueFd last, OpenInRoot(root_fd, "/", O_PATH | O_DIRECTORY));
  std::string prefix = "/";
  for (const std::string& part : Split(path, '/')) {
    if (part.empty() || part == ".") continue;
    ASSIGN_OR_RETURN(last, MakePart(root_fd, prefix, part, mode, links));
    prefix += part + "/";
  }
  return last;
}

}  // namespace

Result<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags, unsigned mode) {
  RETURN_IF_ERROR(CheckPath(path));
  UniqueFd fd(OpenBelow(root_fd, path, flags, mode));
  if (!fd.valid()) return ErrnoError(errno, "open " + Printable(path, kMaxPath));
  return fd;
}

Result<UniqueFd> OpenBeneath(int root_fd, const std::string& path, int flags) {
  RETURN_IF_ERROR(CheckPath(path));
  open_how how = {};
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  UniqueFd fd(OpenAs(root_fd, path, flags, how));
  if (!fd.valid()) return ErrnoError(errno, "open " + Printable(path, kMaxPath));
  return fd;
}

Result<std::string> ReadFileInRoot(int root_fd, const std::string& path, size_t max_bytes) {
  // Opened for real only once it is known to be a regular file: the open alone of a device can act.
  ASSIGN_OR_RETURN(UniqueFd handle, OpenInRoot(root_fd, path, O_PATH));
  std::string what = "read " + Printable(path, kMaxPath);
  struct stat st;
  if (::fstat(handle.get(), &st) != 0) return ErrnoError(errno, what);
  if (!S_ISREG(st.st_mode)) return InvalidArgument(what + ": not a regular file");
  UniqueFd file(::open(("/proc/self/fd/" + std::to_string(handle.get())).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoError(errno, what);
  Result<std::string> text = ReadAll(file.get(), max_bytes);
  if (text.code() == StatusCode::kResourceExhausted) {
    return InvalidArgument(what + ": larger than " + std::to_string(max_bytes) + " bytes");
  }
  if (!text.ok()) return text.status().Annotate(what);
  return text;
}

Result<UniqueFd> MakeDirectoriesInRoot(int root_fd, const std::string& path, unsigned mode) {
  return MakeDirectoriesLimited(root_fd, path, mode, kMaxLinks);
}

Result<std::vector<std::string>> NamesIn(int directory) {
  const int fd = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // a place in it of its own
  if (fd < 0) return ErrnoError(errno, "open directory");
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd), ::closedir);
  if (!dir) {
    const int err = errno;
    ::close(fd);
    return ErrnoError(err, "read directory");
  }
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return ErrnoError(errno, "read directory");
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace davit::sys
