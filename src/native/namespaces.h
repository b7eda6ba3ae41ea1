// Namespaces of a container: which are new, which are joined, and in what order the kernel takes them.
//
// Source: OCI runtime-spec 1.3, config-linux.md, "Namespaces", "Offset for Time Namespace"; namespaces(7),
// user_namespaces(7), time_namespaces(7), clone(2), setns(2).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "native/procfs.h"
#include "oci/runtime_spec.h"
#include "sys/unique_fd.h"

namespace davit::native {

struct NamespaceJoin {
  uint64_t kind = 0;  // CLONE_NEW*
  std::string path;
  sys::UniqueFd fd;
};

struct NamespacePlan {
  uint64_t create = 0;  // CLONE_NEW* that clone3 makes: all but the next two
  // After the process is in its cgroup, which becomes the root of what it sees (cgroup_namespaces(7)).
  bool new_cgroup = false;
  bool new_time = false;  // offsets can be set only before the first process enters
  std::vector<NamespaceJoin> joins;

  [[nodiscard]] bool Creates(uint64_t kind) const { return (create & kind) != 0; }
  [[nodiscard]] bool Joins(uint64_t kind) const;
  [[nodiscard]] bool Has(uint64_t kind) const { return Creates(kind) || Joins(kind); }
  // Whether a process in between is needed, which joins and then makes the real one: a PID namespace is that of
  // children only, new namespaces have to belong to a user namespace that was joined, what belongs to the node cannot
  // be joined from inside a new user namespace, and a time namespace is entered by a clone.
  [[nodiscard]] bool NeedsBetween() const;
};

// Opens the paths. kInvalidArgument when one is no namespace of its type.
Result<NamespacePlan> PlanNamespaces(const oci::Linux& linux_part);

// In the calling process: all joins. First with the rights of the node, which reach every namespace; what is refused
// (a caller without them) is tried again from inside the user namespace.
Status JoinNamespaces(const NamespacePlan& plan);

// unshare(2) and /proc/self/timens_offsets.
Status MakeTimeNamespace(const Procfs& procfs, const std::map<std::string, oci::TimeOffset>& offsets);

// uid_map, setgroups and gid_map of a process in a new user namespace, from outside.
Status WriteIdMaps(const Procfs& procfs, pid_t pid, const oci::Linux& linux_part);

}  // namespace davit::native
