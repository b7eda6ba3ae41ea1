#include "network/config_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/log.h"
#include "base/strings.h"

namespace davit::network {
namespace {

constexpr size_t kMaxFiles = 256;
constexpr int kMaxArmTries = 64;

bool HasSuffix(std::string_view name, std::string_view suffix) {
  return name.size() > suffix.size() && name.substr(name.size() - suffix.size()) == suffix;
}

bool IsConfigName(std::string_view name) {
  return name.front() != '.' && (HasSuffix(name, ".conf") || HasSuffix(name, ".conflist") || HasSuffix(name, ".json"));
}

Result<std::vector<std::string>> ListConfigs(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return ErrnoError(errno, "open " + directory);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (IsConfigName(entry->d_name)) names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<NetworkConfig> ReadConfig(const std::string& path) {
  // O_NONBLOCK: a FIFO with such a name must not hold us up.
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return ErrnoError(errno, "stat " + path);
  if (!S_ISREG(st.st_mode)) return InvalidArgument("not a regular file");
  ASSIGN_OR_RETURN(std::string text, sys::ReadAll(fd.get(), kMaxConfigBytes));
  ASSIGN_OR_RETURN(NetworkConfig config, ParseNetworkConfig(text));
  // `lo` is up since the namespace was made.
  config = config.Without("loopback");
  if (config.plugins.empty()) return InvalidArgument("holds only the loopback plugin, which is built in");
  return config;
}

std::string Parent(const std::string& path) {
  size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool IsDirectory(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

}  // namespace

ConfigSnapshot ReadConfigDirectory(const std::string& directory) {
  ConfigSnapshot snapshot;
  snapshot.directory = directory;
  auto names = ListConfigs(directory);
  if (!names.ok()) {
    snapshot.missing = names.status().message();
    return snapshot;
  }
  for (const std::string& name : *names) {
    if (snapshot.rejected.size() >= kMaxFiles) break;
    auto config = ReadConfig(directory + "/" + name);
    if (!config.ok()) {
      snapshot.rejected.push_back({name, config.status().message()});
      continue;
    }
    snapshot.file = name;
    snapshot.config = std::move(*config);
    break;
  }
  return snapshot;
}

Result<DirectoryWatch> DirectoryWatch::Create(std::string directory) {
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  if (directory.empty()) return InvalidArgument("network configuration directory: the path is empty");
  sys::UniqueFd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify.valid()) {
    return ErrnoError(errno, "watch " + directory + ": inotify_init1 (limit fs.inotify.max_user_instances)");
  }
  DirectoryWatch watch(std::move(directory), std::move(inotify));
  RETURN_IF_ERROR(watch.Arm());
  return watch;
}

Status DirectoryWatch::WatchPath(const std::string& path) {
  // No IN_MODIFY: a file counts when it is closed. IN_CREATE is for symlinks and hard links.
  uint32_t mask = IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
  if (path == directory_) mask |= IN_CLOSE_WRITE | IN_MOVED_FROM | IN_DELETE;
  int descriptor = ::inotify_add_watch(inotify_.get(), path.c_str(), mask);
  if (descriptor < 0) {
    return ErrnoError(errno, "watch " + path + (errno == ENOSPC ? " (limit fs.inotify.max_user_watches)" : ""));
  }
  if (descriptor_ >= 0 && descriptor != descriptor_) ::inotify_rm_watch(inotify_.get(), descriptor_);
  descriptor_ = descriptor;
  watched_ = path;
  return {};
}

// The directory can appear, or a parent vanish, between the look and the watch; so it looks again after
// each watch, until the watch is on the nearest directory that exists.
Status DirectoryWatch::Arm() {
  Status last;
  for (int i = 0; i < kMaxArmTries; ++i) {
    std::string path = directory_;
    while (!IsDirectory(path) && path != "/" && path != ".") path = Parent(path);
    if (path == watched_ && descriptor_ >= 0) return {};
    last = WatchPath(path);
    if (!last.ok() && last.code() != StatusCode::kNotFound) return last;
  }
  return last;
}

bool DirectoryWatch::Drain() {
  alignas(inotify_event) char buffer[4096];
  bool changed = false;
  for (;;) {
    ssize_t n = ::read(inotify_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    for (ssize_t at = 0; at < n;) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof event);
      at += static_cast<ssize_t>(sizeof event + event.len);
      bool gone = (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0;
      if (event.wd != descriptor_ && (event.mask & IN_Q_OVERFLOW) == 0) continue;  // a watch of before
      if (gone) {
        // Moved away, the watch would follow the directory to where it is no longer ours.
        ::inotify_rm_watch(inotify_.get(), descriptor_);
        descriptor_ = -1;
        watched_.clear();
      }
      changed = changed || watched_ == directory_ || gone;
    }
  }
  std::string before = watched_;
  if (Status armed = Arm(); !armed.ok()) LogError("{}", armed.message());
  return changed || (watched_ != before && watched_ == directory_);
}

}  // namespace davit::network
