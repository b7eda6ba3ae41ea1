#include "pod/sysctls.h"

#include <algorithm>

#include "base/strings.h"
#include "pod/user_namespace.h"
#include "sys/namespaces.h"
#include "sys/user_namespace.h"

namespace davit::pod {
namespace {

constexpr size_t kMaxSysctls = 256;

bool StartsWith(const std::string& text, std::string_view prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

// "net/ipv4/ip_forward" and "net.ipv4.ip_forward" are one name (sysctl(8)): the first separator decides
// which of the two is the separator; the other one is part of a word then ("net/ipv4/conf/eth0.1/…").
std::string Dotted(const std::string& name) {
  size_t first = name.find_first_of("./");
  if (first == std::string::npos || name[first] == '.') return name;
  std::string dotted = name;
  std::replace(dotted.begin(), dotted.end(), '/', '.');
  return dotted;
}

}  // namespace

Status ValidateSysctls(const PodSpec& spec) {
  if (spec.sysctls.size() > kMaxSysctls) return InvalidArgument("linux.sysctls: more than 256");
  for (const auto& [name, value] : spec.sysctls) {
    std::string shown = "linux.sysctls[\"" + Printable(name) + "\"]";
    std::string dotted = Dotted(name);
    bool ipc = StartsWith(dotted, "kernel.shm") || StartsWith(dotted, "kernel.msg") || dotted == "kernel.sem" ||
               StartsWith(dotted, "fs.mqueue.");
    bool net = StartsWith(dotted, "net.");
    if (!ipc && !net) return InvalidArgument(shown + ": the kernel does not keep it for each namespace");
    if (net && spec.network == NamespaceMode::kNode) {
      return InvalidArgument(shown + ": the pod uses the node's network namespace");
    }
    if (ipc && spec.ipc == NamespaceMode::kNode) {
      return InvalidArgument(shown + ": the pod uses the node's IPC namespace");
    }
    bool printable = std::all_of(value.begin(), value.end(), [](unsigned char c) { return c >= 0x20 || c == '\t'; });
    if (value.empty() || value.size() > 4096 || !printable) {
      return InvalidArgument(shown + ": value \"" + Printable(value) +
                             "\" is empty, too long or has control characters");
    }
  }
  return {};
}

Status ApplySysctls(const PodSpec& spec) {
  for (const auto& [name, value] : spec.sysctls) {
    Status status = sys::WriteSysctl(name, value);
    if (status.code() == StatusCode::kPermissionDenied && spec.has_user_namespace()) {
      // Those of IPC obey root of the user namespace and not the node's.
      status = sys::RunAsUser(MappedRootUser(spec), [&] { return sys::WriteSysctl(name, value); });
    }
    // The kernel's verdict on a value of the request is the requester's business.
    if (!status.ok()) {
      return InvalidArgument("linux.sysctls[\"" + Printable(name) + "\"] = \"" + Printable(value) +
                             "\": " + status.message());
    }
  }
  return {};
}

}  // namespace davit::pod
