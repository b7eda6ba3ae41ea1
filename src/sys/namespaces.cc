#include "sys/namespaces.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "base/rollback.h"
#include "base/strings.h"
#include "sys/mounts.h"

namespace davit::sys {

int CloneFlag(NamespaceKind kind) {
  switch (kind) {
    case NamespaceKind::kNet:
      return CLONE_NEWNET;
    case NamespaceKind::kIpc:
      return CLONE_NEWIPC;
    case NamespaceKind::kUts:
      return CLONE_NEWUTS;
    case NamespaceKind::kUser:
      return CLONE_NEWUSER;
  }
  return 0;
}

Status InThread(const std::function<Status()>& work) {
  Status outcome;
  try {
    std::thread thread([&] { outcome = work(); });
    thread.join();
  } catch (const std::system_error& e) {  // the one way std::thread tells that there is no thread
    return ResourceExhausted(std::string("start thread: ") + e.what());
  }
  return outcome;
}

namespace {

// A router advertisement must not give a pod a route to a man in the middle (CVE-2020-10749). The
// interfaces that come later inherit "default".
Status IgnoreRouterAdvertisements() {
  for (const char* name : {"net/ipv6/conf/all/accept_ra", "net/ipv6/conf/default/accept_ra"}) {
    Status status = WriteSysctl(name, "0");
    if (!status.ok() && status.code() != StatusCode::kNotFound) return status;  // no IPv6: nothing to do
  }
  return {};
}

Status CreateInThisThread(const std::vector<PinRequest>& requests, const std::function<Status()>& inside) {
  int flags = 0;
  for (const PinRequest& request : requests) flags |= CloneFlag(request.kind);
  if (::unshare(flags) != 0) return ErrnoError(errno, "unshare");
  if ((flags & CLONE_NEWNET) != 0) RETURN_IF_ERROR(PrepareNetworkNamespace());
  if (inside) RETURN_IF_ERROR(inside());
  Rollback undo;
  for (const PinRequest& request : requests) {
    std::string source = "/proc/thread-self/ns/" + std::string(NamespaceName(request.kind));
    Status pinned = PinNamespace(source, request.path);
    if (pinned.code() == StatusCode::kAlreadyExists) return pinned;  // not ours to undo
    undo.Add("unpin " + request.path, [&request] { return Unpin(request.path); });
    RETURN_IF_ERROR(pinned);
  }
  undo.Commit();
  return {};
}

// sysctl(8): the first separator decides. "net.ipv4.conf.eth0/1.rp_filter" and
// "net/ipv4/conf/eth0.1/rp_filter" are the same file.
Result<std::string> SysctlPath(const std::string& name) {
  auto bad = [&name] { return InvalidArgument("sysctl name \"" + Printable(name) + "\" is not valid"); };
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == '/';
  };
  if (name.size() > 255 || name.find("..") != std::string::npos || !std::all_of(name.begin(), name.end(), allowed)) {
    return bad();
  }
  std::string path = name;
  size_t first = path.find_first_of("./");
  if (first != std::string::npos && path[first] == '.') {
    for (char& c : path) {
      if (c == '.') {
        c = '/';
      } else if (c == '/') {
        c = '.';
      }
    }
  }
  for (const std::string& part : Split(path, '/')) {
    if (part.empty() || part == "." || part == "..") return bad();
  }
  return "/proc/sys/" + path;
}

}  // namespace

std::string_view NamespaceName(NamespaceKind kind) {
  switch (kind) {
    case NamespaceKind::kNet:
      return "net";
    case NamespaceKind::kIpc:
      return "ipc";
    case NamespaceKind::kUts:
      return "uts";
    case NamespaceKind::kUser:
      return "user";
  }
  return "";
}

Status PinNamespace(const std::string& source, const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) {
    if (errno != EEXIST) return ErrnoError(errno, "create " + path);
    // A plain file is what a crash between the two steps leaves; a mount is somebody's namespace.
    ASSIGN_OR_RETURN(bool pinned, IsMountPoint(path));
    if (pinned) return AlreadyExists("a namespace is pinned at " + path);
  }
  return BindMount(source, path, false);
}

Status CreatePinnedNamespaces(const std::vector<PinRequest>& requests, const std::function<Status()>& inside) {
  if (requests.empty()) return InvalidArgument("create namespaces: none named");
  return InThread([&] { return CreateInThisThread(requests, inside); }).Annotate("create namespaces");
}

Status Unpin(const std::string& path) {
  // More than one mount can lie on the file when a crash came between a pin and its record.
  constexpr int kMaxStacked = 16;
  for (int i = 0; i < kMaxStacked; ++i) {
    Result<bool> mounted = IsMountPoint(path);
    if (mounted.code() == StatusCode::kNotFound) return {};
    if (!mounted.ok()) return mounted.status();
    if (!*mounted) break;
    RETURN_IF_ERROR(Unmount(path));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, "remove " + path);
  return {};
}

Status RunInNamespace(const std::string& path, NamespaceKind kind, const std::function<Status()>& inside) {
  return RunInNamespaces({{kind, path}}, inside);
}

Status RunInNamespaces(const std::vector<PinRequest>& pins, const std::function<Status()>& inside) {
  std::vector<UniqueFd> fds;
  for (const PinRequest& pin : pins) {
    ASSIGN_OR_RETURN(UniqueFd fd, Open(pin.path, O_RDONLY));
    fds.push_back(std::move(fd));
  }
  return InThread([&]() -> Status {
    for (size_t i = 0; i < pins.size(); ++i) {
      if (::setns(fds[i].get(), CloneFlag(pins[i].kind)) != 0) {
        return ErrnoError(errno, "join namespace " + pins[i].path);
      }
    }
    return inside();
  });
}

Status PrepareNetworkNamespace() {
  RETURN_IF_ERROR(BringUpLoopback());
  return IgnoreRouterAdvertisements();
}

Status BringUpLoopback() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "open socket");
  ifreq request = {};
  std::strcpy(request.ifr_name, "lo");
  if (::ioctl(fd.get(), SIOCGIFFLAGS, &request) != 0) return ErrnoError(errno, "get flags of lo");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  if (::ioctl(fd.get(), SIOCSIFFLAGS, &request) != 0) return ErrnoError(errno, "set lo up");
  return {};
}

Status WriteSysctl(const std::string& name, const std::string& value) {
  ASSIGN_OR_RETURN(std::string path, SysctlPath(name));
  return WriteValue(path, value).Annotate("set sysctl " + name);
}

}  // namespace davit::sys
