// RuntimeDriver: how davit speaks to an OCI runtime's command line (crun, runc and others that take the
// same arguments).
//
// Two kinds of verbs. The container's parent is davit-monitor, so `create`, `start` and `exec` are run
// by the monitor: for these the driver only builds the argv. Verbs that have no child to adopt (delete,
// update, kill) the driver runs itself. On the hot path (create, start) nothing is probed: one fork and
// exec each.
//
// Source: the runtime command line of crun(1) and runc(8); OCI runtime-spec, runtime.md.
// Thread rules: immutable after construction; every method may be called from any thread. Blocking
// verbs take a Deadline (kDeadlineExceeded) and belong on a pool. A runtime that is not installed is
// kFailedPrecondition everywhere but in Probe(); what it refuses for reasons of its own is kInternal
// with its last error message.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "runtime/runtime_log.h"  // IWYU pragma: export

namespace davit::runtime {

enum class CgroupDriver { kCgroupfs, kSystemd };

struct RuntimeHandler {
  std::string name;  // "crun": what pods ask for
  std::string path;  // absolute path of the program
  std::string root;  // --root: the runtime's state directory, made by the runtime
  CgroupDriver cgroup_driver = CgroupDriver::kCgroupfs;
  std::vector<std::string> arguments = {};  // the administrator's, before the verb: "--network=host" for runsc
};

// What a runtime can do, as far as that is known. All false for a runtime without a `features` command,
// except crun, of which it is known.
struct RuntimeFeatures {
  bool known = false;                       // the rest means something
  bool recursive_read_only_mounts = false;  // mount option "rro"
  bool idmap_mounts = false;                // linux.mountExtensions.idmap
  bool user_namespaces = false;             // namespace "user"
  bool seccomp = false;
  bool apparmor = false;
  bool selinux = false;
  bool seccomp_bpf = false;  // takes a compiled filter as annotation run.oci.seccomp_bpf_data (crun only)
  std::vector<std::string> unsafe_annotations;  // potentiallyUnsafeConfigAnnotations
};

// Parses the JSON of `features` (runtime-spec 1.1, features.md). Pure.
Result<RuntimeFeatures> ParseFeatures(std::string_view json);

// For crun from before its `features` command (1.8 in Debian 12): from the text of --version, where the
// build options stand as "+SECCOMP"; the mount and namespace features are measured with 1.8.1. Unknown
// (known == false) for any other text and for versions before 1.8. Pure.
RuntimeFeatures FeaturesOfCrunVersion(std::string_view version_text);

class RuntimeDriver {
 public:
  explicit RuntimeDriver(RuntimeHandler handler);

  [[nodiscard]] const RuntimeHandler& handler() const { return handler_; }

  // argv for the monitor. `log_file` receives the runtime's errors as JSON lines (see
  // ReadRuntimeError); it and `console_socket` may be empty (no such argument). All paths absolute.
  [[nodiscard]] std::vector<std::string> CreateArgv(const std::string& container_id, const std::string& bundle,
                                                    const std::string& pid_file, const std::string& console_socket,
                                                    const std::string& log_file) const;
  [[nodiscard]] std::vector<std::string> StartArgv(const std::string& container_id, const std::string& log_file) const;
  // Detached: the runtime returns when the process runs; its pid is in pid_file. `process_json` is a
  // file with oci::ToJson(Process).
  [[nodiscard]] std::vector<std::string> ExecArgv(const std::string& container_id, const std::string& process_json,
                                                  const std::string& pid_file, const std::string& console_socket,
                                                  const std::string& log_file) const;

  // Removes the runtime's state and the container's cgroup. `force` kills what still runs. OK when the
  // runtime does not know the container. kFailedPrecondition when it runs and force is false.
  Status Delete(const std::string& container_id, bool force, Deadline deadline) const;
  // Changes limits of a created or running container; `resources` is a runtime-spec
  // linux.resources object (oci::ToJson(Resources)). kNotFound when the runtime does not know it.
  Status Update(const std::string& container_id, const std::string& resources, Deadline deadline) const;
  // Sends a signal to the container's first process, or to all of its processes. Only the fallback for
  // when there is no pidfd: a signal through the pidfd costs a thousandth. kNotFound as Update.
  Status Kill(const std::string& container_id, int signal, bool all, Deadline deadline) const;

  // "crun version 1.8.1": the first line of --version.
  Result<std::string> Version(Deadline deadline) const;
  // Runs `features`; for a runtime without that command FeaturesOfCrunVersion().
  Result<RuntimeFeatures> Features(Deadline deadline) const;

  // For start-up and diagnosis, never per container: the program is there and executable, answers
  // --version, and can work on this machine's cgroup layout. kNotFound, kPermissionDenied, or
  // kFailedPrecondition with the remedy.
  Status Probe(Deadline deadline) const;

 private:
  [[nodiscard]] std::vector<std::string> BaseArgv(const std::string& log_file) const;
  // kNotFound only ever means "the runtime does not know the container".
  Status RunVerb(std::vector<std::string> arguments, const std::string& container_id, std::string_view input,
                 Deadline deadline) const;
  [[nodiscard]] Result<std::string> VersionText(Deadline deadline) const;
  [[nodiscard]] bool Knows(const std::string& container_id) const;

  RuntimeHandler handler_;
};

// What to do when crun would refuse this machine; "" when nothing hinders it. On a hybrid host (v1
// hierarchies with cgroup2 beside them) crun refuses to run while any controller is left on cgroup2;
// each must be mounted as v1. `controllers` is the text of cgroup.controllers at the cgroup2 mount. Pure.
std::string HybridRemedy(std::string_view controllers);

}  // namespace davit::runtime
