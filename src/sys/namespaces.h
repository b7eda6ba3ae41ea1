// Namespaces that outlive every process in them: made in a short-lived thread and pinned by a bind
// mount of /proc/self/task/<tid>/ns/* (namespaces(7)). No pause process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

enum class NamespaceKind { kNet, kIpc, kUts, kUser };

std::string_view NamespaceName(
    NamespaceKind kind);  // "net", "ipc", "uts", "user": file names and OCI types ("net" is OCI "network")

// CLONE_NEW* of clone(2) and unshare(2).
int CloneFlag(NamespaceKind kind);

// Runs `work` in a thread that ends with it: whatever namespaces the thread is in go with it.
// kResourceExhausted when there is no thread to be had.
Status InThread(const std::function<Status()>& work);

struct PinRequest {
  NamespaceKind kind;
  std::string path;  // where to pin: the file is created, mode 0600
};

// Creates the namespaces together in one new thread, brings `lo` up when kNet is among them, runs
// `inside` (may be empty) in that thread, in the new namespaces, then pins each. When anything fails
// nothing stays pinned.
Status CreatePinnedNamespaces(const std::vector<PinRequest>& requests, const std::function<Status()>& inside);

// Pins the namespace that `source` ("/proc/1234/ns/net") names. kAlreadyExists when one is pinned there.
Status PinNamespace(const std::string& source, const std::string& path);

// Unmounts and deletes a pin. A path that is not there is OK.
Status Unpin(const std::string& path);

// Runs `inside` in a thread that has joined the namespace pinned at `path`.
Status RunInNamespace(const std::string& path, NamespaceKind kind, const std::function<Status()>& inside);

// The same with several pinned namespaces; not kUser, which a thread cannot join.
Status RunInNamespaces(const std::vector<PinRequest>& pins, const std::function<Status()>& inside);

// What a new network namespace of a pod needs, in the calling thread's: `lo` up, no router advertisements.
Status PrepareNetworkNamespace();

// In the calling thread's network namespace: sets `lo` up (netdevice(7)).
Status BringUpLoopback();

// Writes one sysctl in the calling thread's namespaces, from a name with dots or slashes
// ("net.ipv4.ip_forward"). kInvalidArgument for a name with "..", an empty part or other characters
// than [A-Za-z0-9_.-/]; the value is written as it is, in one write.
Status WriteSysctl(const std::string& name, const std::string& value);

}  // namespace davit::sys
