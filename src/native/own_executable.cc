#include "native/own_executable.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "native/prepared_mounts.h"
#include "sys/idmap.h"
#include "sys/mounts.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U  // Linux 6.3
#endif

namespace davit::native {
namespace {

constexpr long kMountReadonly = 0x0001;  // ST_RDONLY
constexpr const char* kSelf = "/proc/self/exe";
constexpr const char* kMark = "DAVIT_PROTECTED_RUN";  // so that a program that cannot be protected does not go round
constexpr int kAllSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

Result<sys::UniqueFd> ReadonlyClone(int file, const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd tree, sys::CloneMountAt(file, path, false));
  // A copy of a shared mount is its peer.
  RETURN_IF_ERROR(SetMountPropagation(tree.get(), MS_PRIVATE, false));
  RETURN_IF_ERROR(SetAttributes(tree.get(), {MOUNT_ATTR_RDONLY, 0}, false));
  return tree;
}

Result<sys::UniqueFd> SealedCopy(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(path, O_RDONLY));
  struct stat st;
  if (::fstat(file.get(), &st) != 0) return ErrnoError(errno, "look at " + path);
  sys::UniqueFd copy(::memfd_create("davit", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
  if (!copy.valid() && errno == EINVAL) copy.reset(::memfd_create("davit", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!copy.valid()) return ErrnoError(errno, "memfd_create");
  for (off_t at = 0; at < st.st_size;) {
    if (::sendfile(copy.get(), file.get(), &at, static_cast<size_t>(st.st_size - at)) <= 0) {
      return ErrnoError(errno, "copy " + path);
    }
  }
  if (::fcntl(copy.get(), F_ADD_SEALS, kAllSeals) != 0) return ErrnoError(errno, "seal the copy of " + path);
  return copy;
}

// Whether this program is one that nobody can write to: on a mount that is read-only and in no namespace, or sealed. A
// read-only mount that has a place could be made writable by a container that shares the namespace.
bool IsProtected() {
  sys::UniqueFd self(::open(kSelf, O_RDONLY | O_CLOEXEC));
  if (!self.valid()) return false;
  int seals = ::fcntl(self.get(), F_GET_SEALS);
  if (seals >= 0 && (seals & kAllSeals) == kAllSeals) return true;
  struct statfs info;
  if (::fstatfs(self.get(), &info) != 0 || (info.f_flags & kMountReadonly) == 0) return false;
  // Of a detached mount of one file the path that the kernel tells is "/": it is reached from nowhere.
  char path[8] = {};
  ssize_t n = ::readlink(kSelf, path, sizeof path);
  return n == 1 && path[0] == '/';
}

}  // namespace

Result<sys::UniqueFd> ProtectedExecutable(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(path, O_PATH));
  Result<sys::UniqueFd> clone = ReadonlyClone(file.get(), path);
  if (clone.ok()) return clone;
  return SealedCopy(path);
}

Status ProtectSelf(char** argv, char** envp) {
  bool again = ::getenv(kMark) != nullptr;  // NOLINT(concurrency-mt-unsafe): main's first lines
  ::unsetenv(kMark);                        // NOLINT(concurrency-mt-unsafe)
  if (IsProtected()) return {};
  if (again) return Internal("the runtime's program runs from a copy of itself, which is not read-only");
  ASSIGN_OR_RETURN_WITH(sys::UniqueFd program, ProtectedExecutable(kSelf), "protect the runtime's program");
  std::vector<char*> environment;
  while (*envp != nullptr) environment.push_back(*envp++);
  std::string mark = std::string(kMark) + "=1";
  environment.push_back(mark.data());
  environment.push_back(nullptr);
  ::syscall(SYS_execveat, program.get(), "", argv, environment.data(), AT_EMPTY_PATH);
  return ErrnoError(errno, "execute the runtime's protected program");
}

}  // namespace davit::native
