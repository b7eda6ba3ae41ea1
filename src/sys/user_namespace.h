// User namespaces with an explicit map, and the namespaces that belong to them (user_namespaces(7)).
//
// A namespace belongs to the user namespace that its creator was in, so a pod's net, ipc and uts
// namespaces must be made inside the pod's user namespace: root of the pod may then set up its loopback
// or its hostname, and the kernel lets the runtime mount sysfs and mqueue there. A thread of a process
// with threads cannot enter a new user namespace, hence a short-lived child.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/namespaces.h"
#include "sys/unique_fd.h"

namespace davit::sys {

struct IdRange {
  uint32_t inside = 0;   // first id in the namespace
  uint32_t outside = 0;  // first id in the caller's user namespace
  uint32_t length = 0;
};

struct IdMap {
  std::vector<IdRange> uids;  // at least one each
  std::vector<IdRange> gids;
};

// A user namespace that lives as long as the descriptor. kResourceExhausted: user.max_user_namespaces;
// kPermissionDenied: the caller may not map these ids.
Result<UniqueFd> CreateUserNamespace(const IdMap& map);

struct UserNamespaceRequest {
  IdMap map;
  std::string path;  // where to pin it
};

// As CreatePinnedNamespaces (same order of steps, same guarantee), but the namespaces belong to a new user
// namespace, pinned too. `inside` runs in the new net, ipc and uts namespaces, with the caller's own user
// namespace and rights.
Status CreatePinnedNamespacesIn(const UserNamespaceRequest& user, const std::vector<PinRequest>& requests,
                                const std::function<Status()>& inside);

// Runs `work` with this effective user id, in the calling thread alone. For the few checks of the kernel that
// ask for the owner of a namespace by id and not by capability (IPC sysctls).
Status RunAsUser(uint32_t uid, const std::function<Status()>& work);

}  // namespace davit::sys
