#include "native/procfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/strings.h"

namespace davit::native {
namespace {

constexpr size_t kMaxSysctlName = 255;

Status WriteOnce(int fd, const std::string& path, std::string_view value) {
  ssize_t n = 0;
  do {
    n = ::write(fd, value.data(), value.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoError(errno, "write \"" + Printable(value) + "\" to /proc/" + Printable(path));
  return {};
}

}  // namespace

bool HasMagic(int fd, unsigned long magic) {
  struct statfs info;
  return ::fstatfs(fd, &info) == 0 && static_cast<unsigned long>(info.f_type) == magic;
}

Result<Procfs> Procfs::Open() {
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW));
  if (!HasMagic(root.get(), PROC_SUPER_MAGIC)) return FailedPrecondition("/proc of the node is not a procfs");
  return Procfs(std::move(root));
}

Result<sys::UniqueFd> Procfs::OpenFile(const std::string& path, int flags) const {
  open_how how = {};
  how.flags = static_cast<uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  sys::UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how)));
  if (!fd.valid()) return ErrnoError(errno, "open /proc/" + Printable(path));
  return fd;
}

// "self" is a link, and links are not followed: its text is the pid as this procfs counts.
Result<std::string> Procfs::OwnDirectory() const {
  std::array<char, 32> text{};
  ssize_t n = ::readlinkat(root_.get(), "self", text.data(), text.size());
  if (n <= 0) return ErrnoError(errno, "read link /proc/self");
  return std::string(text.data(), static_cast<size_t>(n)) + "/";
}

Result<sys::UniqueFd> Procfs::OpenOwn(const std::string& path, int flags) const {
  ASSIGN_OR_RETURN(std::string directory, OwnDirectory());
  return OpenFile(directory + path, flags);
}

Status Procfs::Write(const std::string& path, std::string_view value) const {
  ASSIGN_OR_RETURN(sys::UniqueFd file, OpenFile(path, O_WRONLY));
  return WriteOnce(file.get(), path, value);
}

Status Procfs::WriteOwn(const std::string& path, std::string_view value) const {
  ASSIGN_OR_RETURN(sys::UniqueFd file, OpenOwn(path, O_WRONLY));
  return WriteOnce(file.get(), "self/" + path, value);
}

Result<sys::UniqueFd> Procfs::Reopen(int fd, int flags) const {
  ASSIGN_OR_RETURN(sys::UniqueFd directory, OpenOwn("fd", O_PATH | O_DIRECTORY));
  // The one magic link that is followed: its target is a descriptor of this process.
  sys::UniqueFd opened(::openat(directory.get(), std::to_string(fd).c_str(), flags | O_CLOEXEC));
  if (!opened.valid()) return ErrnoError(errno, "open a descriptor again");
  return opened;
}

Result<std::string> SysctlPath(const std::string& name) {
  auto bad = [&name] { return InvalidArgument("\"" + Printable(name) + "\" is no name of a sysctl"); };
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == '/';
  };
  if (name.empty() || name.size() > kMaxSysctlName || !std::all_of(name.begin(), name.end(), allowed)) return bad();
  std::string path = name;
  size_t first = path.find_first_of("./");
  if (first != std::string::npos && path[first] == '.') {
    for (char& c : path) c = c == '.' ? '/' : c == '/' ? '.' : c;
  }
  for (const std::string& part : Split(path, '/')) {
    if (part.empty() || part == "." || part == "..") return bad();
  }
  return path;
}

}  // namespace davit::native
