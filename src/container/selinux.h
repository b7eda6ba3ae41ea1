// SELinux: labels of a container's processes, of its root filesystem and of the files that the engine makes for
// it, behind an interface, so that everything but the calls into the library is tested without a policy.
//
// The library is loaded at start and only where the kernel has a policy: nodes without SELinux do not pay for
// it. Defaults come from the policy's own contexts/lxc_contexts. Every pod has a pair of categories of its own
// (multi-category security), so that containers of one pod share files and those of different pods do not.
//
// Source: selinux_lxc_contexts_path(3), security_check_context(3), lsetfilecon(3); overlayfs "context=".
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"
#include "container/spec.h"

namespace davit::container {

// "user:role:type:level"; the level may have colons of its own.
struct SelinuxContext {
  std::string user;
  std::string role;
  std::string type;
  std::string level;

  [[nodiscard]] std::string ToString() const;
};
// kInvalidArgument naming the text unless it has at least user, role and type.
Result<SelinuxContext> ParseSelinuxContext(std::string_view text);

struct SelinuxDefaults {
  SelinuxContext process;  // "system_u:system_r:container_t:s0"
  SelinuxContext file;     // "system_u:object_r:container_file_t:s0"
};
// From the text of lxc_contexts: lines `process = "…"` and `file = "…"`. kFailedPrecondition naming what is
// missing.
Result<SelinuxDefaults> ParseLxcContexts(std::string_view text);

// The kernel's policy. Thread-safe.
class Selinux {
 public:
  virtual ~Selinux() = default;
  [[nodiscard]] virtual const SelinuxDefaults& defaults() const = 0;
  // kInvalidArgument naming the label when the policy does not know it.
  [[nodiscard]] virtual Status Check(const std::string& label) const = 0;
  // Of the path itself, without following a symlink at its end.
  [[nodiscard]] virtual Status SetFileLabel(const std::string& path, const std::string& label) const = 0;
};

// nullptr where SELinux is off. kFailedPrecondition when it is on, but its library or the contexts for
// containers are not there.
Result<std::shared_ptr<const Selinux>> OpenSelinux();

struct SelinuxLabels {
  std::string process;
  std::string mount;
};
// The container's wishes over the pod's over the defaults. A privileged container runs as spc_t with all
// categories where the policy knows that type, unless it names a type. `pod.level` is the pod's own pair.
// kInvalidArgument naming the field.
Result<SelinuxLabels> ResolveSelinux(const Selinux& selinux, const SecurityContext& security,
                                     const SelinuxOptions& pod);

// Two different categories that `taken` does not have: "s0:c17,c900". `random` gives a number below its argument.
// kResourceExhausted when there is none left.
Result<std::string> PickSelinuxLevel(const std::set<std::string>& taken,
                                     const std::function<uint32_t(uint32_t)>& random);

// mounts[].selinux_relabel: labels a directory and everything below it on the same file system, no symlink
// followed. Directories of the system (/, /etc, /home, …) are kInvalidArgument: relabelling them breaks the
// node (CVE-2021-43816). `path` is resolved: absolute, without symlinks.
Status CheckRelabel(const std::string& path);
Status RelabelTree(const Selinux& selinux, const std::string& path, const std::string& label, Deadline deadline);

}  // namespace davit::container
