// Container: the first process of a container, made by this process itself from an OCI runtime-spec.
//
//   caller --clone3--> child: namespaces, root, mounts, masks  --"created"--> caller goes on
//                      child waits at the start socket --"start"--> credentials, seccomp, execve
//
// The caller must be single-threaded: the child is a plain copy of it and allocates memory. No descriptor
// that the caller holds reaches the container but those named here. The child is a child of the caller,
// also where a namespace is joined and a process in between is needed (CLONE_PARENT).
//
// Not here: cgroups are made by the caller (who has the limits), state directories, the running of hooks.
// Errors name the step and its operand: "mounts[3] /data: open source /srv/x: no such file or directory".
// kInvalidArgument: the specification asks for what no runtime could do, or `exec: "x": ...` for a program that
// is not there; kPermissionDenied, kUnimplemented: this node cannot; kInternal: anything else.
//
// Source: OCI runtime-spec 1.2, config.md, config-linux.md, runtime-linux.md. Why own code: docs/adr/0031.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "oci/runtime_spec.h"
#include "sys/unique_fd.h"

namespace davit::native {

// How the process enters its cgroups. The descriptors stay the caller's.
struct CgroupEntry {
  // Directory of the cgroup in the cgroup2 hierarchy (pure or hybrid): clone3 CLONE_INTO_CGROUP. -1: the caller's.
  int unified = -1;
  // Of each v1 hierarchy, the cgroup's file "tasks" (not "cgroup.procs"), open for writing. The child writes "0": a
  // thread that moves itself needs no lock over all processes of the machine, which costs ten milliseconds
  // (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
  std::vector<int> v1_tasks;
};

struct StandardStreams {
  int in = 0;  // descriptors of the caller, which become 0, 1 and 2
  int out = 1;
  int err = 2;
};

struct CreateOptions {
  std::string id;      // names the session keyring, and the container in a message to a seccomp agent
  std::string bundle;  // absolute: what a relative root.path starts from
  CgroupEntry cgroup;
  StandardStreams streams;  // without process.terminal
  int console = -1;         // with process.terminal: a connected AF_UNIX socket, which gets the pty's master
  // A listening SOCK_SEQPACKET socket in the file system, where the process waits for Start(); -1: it goes on at once,
  // and CreateContainer returns when the program runs.
  int start_listener = -1;
  int preserve_fds = 0;         // 3 to 3 + n - 1 of the caller go into the container (and LISTEN_FDS is not touched)
  bool no_pivot = false;        // a root on a ramfs, which pivot_root(2) refuses: MS_MOVE and chroot
  bool no_new_keyring = false;  // keep the caller's session keyring

  // Hooks; an error ends the creation with it. Any may be empty.
  // In the caller, once the namespaces are there and before the root is touched: prestart, createRuntime. The pid is
  // the container's. Network devices are moved here, too.
  std::function<Status(pid_t)> create_runtime;
  // In the child, in the container's namespaces, everything mounted and the root not yet changed: createContainer.
  std::function<Status(pid_t)> create_container;
  // In the child, after Start(), in the container's root, before it gives up its rights: startContainer.
  std::function<Status(pid_t)> start_container;
};

struct Created {
  pid_t pid = -1;  // in the caller's PID namespace; a child of the caller, not reaped
  sys::UniqueFd pidfd;
};

// What can be said about `spec` without doing anything: unknown namespaces, paths that are not absolute, capabilities
// and flags without meaning. Also the first step of CreateContainer.
Status CheckSpec(const oci::RuntimeSpec& spec);

// Returns when the process waits for Start() (or runs, without a start_listener). After an error nothing is left: the
// child has been killed and reaped.
Result<Created> CreateContainer(const oci::RuntimeSpec& spec, const CreateOptions& options);

// Tells the process that waits behind `socket` (the path that start_listener is bound to) to execute the program, and
// returns when it has, or with its error. kFailedPrecondition when nobody waits there (started already, or dead).
Status Start(const std::string& socket, Deadline deadline);
// The same with a connected socket.
Status StartOn(int connection, Deadline deadline);

}  // namespace davit::native
