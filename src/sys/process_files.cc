#include "sys/process_files.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>

namespace davit::sys {

Result<ProcessFiles> CountProcessFiles(pid_t pid, size_t max_descriptors) {
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::string path = "/proc/" + std::to_string(pid) + "/fd";
  std::unique_ptr<DIR, Close> dir(::opendir(path.c_str()));
  if (!dir) return ErrnoError(errno, "list " + path);
  ProcessFiles files;
  while (dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] == '.') continue;
    if (++files.descriptors > max_descriptors) return ResourceExhausted(path + " has too many descriptors");
    std::array<char, 16> target;
    ssize_t n = ::readlinkat(::dirfd(dir.get()), entry->d_name, target.data(), target.size());
    if (n <= 0) {
      --files.descriptors;  // closed meanwhile
      continue;
    }
    if (std::string_view(target.data(), static_cast<size_t>(n)).starts_with("socket:")) ++files.sockets;
  }
  return files;
}

std::optional<uint64_t> OpenFilesLimit(pid_t pid) {
  rlimit limit{};
  if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

}  // namespace davit::sys
