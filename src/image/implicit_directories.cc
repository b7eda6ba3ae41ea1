#include "image/implicit_directories.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/strings.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::image {

Status CopyLowerMetadata(const std::string& layer, const std::vector<std::string>& directories,
                         const std::vector<std::string>& lower) {
  if (directories.empty() || lower.empty()) return {};
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open(layer, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::vector<sys::UniqueFd> roots;
  for (const std::string& path : lower) {
    ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    roots.push_back(std::move(fd));
  }
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  for (const std::string& name : directories) {
    const std::string path = name.empty() ? "." : name;
    Result<sys::UniqueFd> to = sys::OpenInRoot(root.get(), path, kFlags);
    if (!to.ok()) continue;
    for (const sys::UniqueFd& below : roots) {
      Result<sys::UniqueFd> from = sys::OpenInRoot(below.get(), path, kFlags);
      if (!from.ok()) continue;
      struct stat st {};
      if (::fstat(from->get(), &st) != 0) return ErrnoError(errno, fmt::format("stat {}", path));
      timespec times[2] = {st.st_atim, st.st_mtim};
      if (::fchown(to->get(), st.st_uid, st.st_gid) != 0 || ::fchmod(to->get(), st.st_mode & 07777) != 0 ||
          ::futimens(to->get(), times) != 0) {
        return ErrnoError(errno, fmt::format("copy the owner and mode of \"{}\"", Printable(path)));
      }
      break;
    }
  }
  return {};
}

}  // namespace davit::image
