#include "container/selinux.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr uint32_t kCategories = 1024;
constexpr size_t kMaxLabel = 4096;
constexpr int kMaxDepth = 1024;
constexpr std::string_view kField = "linux.security_context.selinux_options";
constexpr std::string_view kPrivilegedType = "spc_t";  // "super privileged container" of every container policy
constexpr std::string_view kAllCategories = "s0-s0:c0.c1023";

std::string Unquote(std::string_view text) {
  text = Trim(text);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return std::string(text);
}

const std::string& FirstOf(const std::string& a, const std::string& b, const std::string& c) {
  return !a.empty() ? a : !b.empty() ? b : c;
}

Status CheckPart(const std::string& part, std::string_view name, bool colons) {
  for (char c : part) {
    bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                std::string_view("_.-").find(c) != std::string_view::npos || (colons && (c == ':' || c == ','));
    if (good) continue;
    return InvalidArgument(std::string(kField) + "." + std::string(name) + " \"" + Printable(part) +
                           "\" has a character that no label has");
  }
  return {};
}

Status CheckOptions(const SelinuxOptions& options) {
  if (options.user.size() + options.role.size() + options.type.size() + options.level.size() > kMaxLabel) {
    return InvalidArgument(std::string(kField) + ": longer than 4096 bytes");
  }
  RETURN_IF_ERROR(CheckPart(options.user, "user", false));
  RETURN_IF_ERROR(CheckPart(options.role, "role", false));
  RETURN_IF_ERROR(CheckPart(options.type, "type", false));
  return CheckPart(options.level, "level", true);
}

// Keeps the device, so that a mount below stays as it is.
struct Walk {
  const Selinux& selinux;
  const std::string& label;
  Deadline deadline;
  dev_t device = 0;
};

// Paths go through the open directory, not by name from the root: nobody can swap a parent for a symlink.
std::string Below(int fd, const std::string& name) { return "/proc/self/fd/" + std::to_string(fd) + "/" + name; }

Status LabelBelow(Walk& walk, sys::UniqueFd fd, const std::string& path, int depth) {
  if (depth > kMaxDepth) return InvalidArgument(Printable(path, 512) + ": directories nest too deep");
  int raw = fd.get();
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(raw), ::closedir);
  if (!dir) return ErrnoError(errno, Printable(path, 512));
  (void)fd.release();  // the DIR closes it
  while (dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (walk.deadline.expired()) return DeadlineExceeded("label " + Printable(path, 512) + ": too many files");
    struct stat info {};
    if (::fstatat(raw, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return ErrnoError(errno, Printable(path + "/" + name, 512));
    }
    if (info.st_dev != walk.device) continue;
    RETURN_IF_ERROR(
        walk.selinux.SetFileLabel(Below(raw, name), walk.label).Annotate(Printable(path + "/" + name, 512)));
    if (!S_ISDIR(info.st_mode)) continue;
    sys::UniqueFd child(::openat(raw, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child.valid()) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) continue;
      return ErrnoError(errno, Printable(path + "/" + name, 512));
    }
    RETURN_IF_ERROR(LabelBelow(walk, std::move(child), path + "/" + name, depth + 1));
  }
  return {};
}

}  // namespace

std::string SelinuxContext::ToString() const {
  std::string text = user + ":" + role + ":" + type;
  return level.empty() ? text : text + ":" + level;
}

Result<SelinuxContext> ParseSelinuxContext(std::string_view text) {
  std::array<std::string, 3> parts;
  std::string_view rest = text;
  for (size_t i = 0; i < parts.size(); ++i) {
    size_t colon = rest.find(':');
    parts[i] = rest.substr(0, colon);
    if (parts[i].empty() || (colon == std::string_view::npos && i + 1 < parts.size())) {
      return InvalidArgument("\"" + Printable(text) + "\" is no SELinux context");
    }
    rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  }
  return SelinuxContext{parts[0], parts[1], parts[2], std::string(rest)};
}

Result<SelinuxDefaults> ParseLxcContexts(std::string_view text) {
  std::string process;
  std::string file;
  for (const std::string& line : Split(text, '\n')) {
    size_t equals = line.find('=');
    if (equals == std::string::npos || Trim(line).starts_with('#')) continue;
    std::string_view key = Trim(std::string_view(line).substr(0, equals));
    std::string value = Unquote(std::string_view(line).substr(equals + 1));
    if (key == "process") process = value;
    if (key == "file") file = value;
  }
  if (process.empty()) return FailedPrecondition("lxc_contexts has no \"process\"");
  if (file.empty()) return FailedPrecondition("lxc_contexts has no \"file\"");
  SelinuxDefaults defaults;
  ASSIGN_OR_RETURN_WITH(defaults.process, ParseSelinuxContext(process), "lxc_contexts: process");
  ASSIGN_OR_RETURN_WITH(defaults.file, ParseSelinuxContext(file), "lxc_contexts: file");
  return defaults;
}

Result<SelinuxLabels> ResolveSelinux(const Selinux& selinux, const SecurityContext& security,
                                     const SelinuxOptions& pod) {
  const SelinuxOptions own = security.selinux.value_or(SelinuxOptions());
  RETURN_IF_ERROR(CheckOptions(own));
  const SelinuxDefaults& defaults = selinux.defaults();
  SelinuxContext process;
  process.user = FirstOf(own.user, pod.user, defaults.process.user);
  process.role = FirstOf(own.role, pod.role, defaults.process.role);
  process.type = FirstOf(own.type, pod.type, defaults.process.type);
  process.level = FirstOf(own.level, pod.level, defaults.process.level);
  SelinuxContext mount = defaults.file;
  mount.level = process.level;
  SelinuxLabels labels{process.ToString(), mount.ToString()};
  if (security.privileged && own.type.empty()) {
    SelinuxContext privileged = process;
    privileged.type = kPrivilegedType;
    privileged.level = own.level.empty() ? std::string(kAllCategories) : own.level;
    if (selinux.Check(privileged.ToString()).ok()) labels.process = privileged.ToString();
  }
  RETURN_IF_ERROR(selinux.Check(labels.process).Annotate(kField));
  RETURN_IF_ERROR(selinux.Check(labels.mount).Annotate(kField));
  return labels;
}

Result<std::string> PickSelinuxLevel(const std::set<std::string>& taken,
                                     const std::function<uint32_t(uint32_t)>& random) {
  auto level = [](uint32_t a, uint32_t b) { return "s0:c" + std::to_string(a) + ",c" + std::to_string(b); };
  for (int i = 0; i < 64; ++i) {
    uint32_t a = random(kCategories);
    uint32_t b = random(kCategories);
    if (a == b) continue;
    std::string picked = level(std::min(a, b), std::max(a, b));
    if (taken.count(picked) == 0) return picked;
  }
  for (uint32_t a = 0; a < kCategories; ++a) {
    for (uint32_t b = a + 1; b < kCategories; ++b) {
      if (std::string picked = level(a, b); taken.count(picked) == 0) return picked;
    }
  }
  return ResourceExhausted("every pair of SELinux categories is in use");
}

Status CheckRelabel(const std::string& path) {
  static const std::set<std::string> kDenied = {"/",           "/bin",        "/boot",
                                                "/dev",        "/etc",        "/etc/pki",
                                                "/home",       "/lib",        "/lib32",
                                                "/lib64",      "/media",      "/mnt",
                                                "/opt",        "/proc",       "/root",
                                                "/run",        "/sbin",       "/srv",
                                                "/sys",        "/system",     "/tmp",
                                                "/usr",        "/var",        "/etc/group",
                                                "/etc/hosts",  "/etc/passwd", "/etc/resolv.conf",
                                                "/etc/shadow", "/var/lib",    "/var/lib/kubelet",
                                                "/var/log",    "/var/run",    "/var/tmp"};
  auto below = [&path](const std::string& directory) { return path.starts_with(directory + "/"); };
  // Below these there is nothing that could be a container's own.
  bool system = below("/bin") || below("/boot") || below("/dev") || below("/etc") || below("/lib") || below("/lib64") ||
                below("/proc") || below("/sbin") || below("/sys") || below("/usr");
  // A home directory itself: sshd and login need its labels.
  bool home = below("/home") && path.find('/', 6) == std::string::npos;
  if (!system && !home && kDenied.count(path) == 0) return {};
  return InvalidArgument("selinux_relabel of " + Printable(path, 512) +
                         " is refused: other programs of the node need its label");
}

Status RelabelTree(const Selinux& selinux, const std::string& path, const std::string& label, Deadline deadline) {
  RETURN_IF_ERROR(CheckRelabel(path));
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_PATH | O_NOFOLLOW));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(errno, path);
  RETURN_IF_ERROR(selinux.SetFileLabel(path, label).Annotate(Printable(path, 512)));
  if (!S_ISDIR(info.st_mode)) return {};
  ASSIGN_OR_RETURN(sys::UniqueFd directory, sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  Walk walk{selinux, label, deadline, info.st_dev};
  return LabelBelow(walk, std::move(directory), path, 0);
}

}  // namespace davit::container
