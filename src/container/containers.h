// Containers: makes and unmakes the resources of one container, always from its record.
//
// The order is: record of intent (engine) | rootfs overlay | bundle | monitor -> runtime create | record.
// Destroy undoes all of it from the record alone and is idempotent, so that the same code serves a failed
// create, a removal, and recovery after SIGKILL.
//
// No state of its own: every verb may be called from any thread, calls about one container come in
// order (the pod's strand) except Exec, Attach, ReopenLog and Resize, which may come at any time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "container/environment.h"
#include "container/exec_process.h"
#include "container/paths.h"
#include "container/record.h"
#include "container/runtime_spec.h"
#include "monitor/client.h"
#include "oci/image_spec.h"
#include "runtime/runtime_driver.h"
#include "store/rootfs.h"
#include "store/volumes.h"
#include "sys/cgroup.h"

namespace davit::container {

struct RuntimeEntry {
  runtime::RuntimeDriver driver;
  runtime::RuntimeFeatures features;
  HandlerSettings settings;
};

struct ContainersOptions {
  Paths paths;
  uint64_t descriptor_limit = 0;  // RLIMIT_NOFILE, soft, of containers that name none; 0: davitd's own
  bool add_user_entry = true;     // own_files.h
  std::string monitor_path;
  int64_t max_log_line_bytes = 16384;
  int64_t standalone_log_bytes = 0;  // a log file of a standalone container is put aside at this size; 0: never
  int64_t standalone_log_files = 1;
  std::map<std::string, RuntimeEntry> handlers;  // by name
  NodeLimits node;
};

struct CreateInputs {
  std::vector<std::string> layer_paths;  // topmost first
  const oci::ImageConfig* image = nullptr;
  // The layers of image volumes, topmost first, by the index in spec.mounts.
  std::map<size_t, std::vector<std::string>> image_volumes;
  // Where the named volumes of spec.mounts are, which have their host paths already. It outlives the call.
  store::Volumes* volumes = nullptr;
  PodEnvironment pod;
};

struct ExecRequest {
  std::vector<std::string> command;
  ProcessChange change;
  bool terminal = false;
  int stdin_fd = -1;  // the process's ends; -1 is /dev/null. Still the caller's. Not used with terminal
  int stdout_fd = -1;
  int stderr_fd = -1;
};

class Containers {
 public:
  // `rootfs` outlives this.
  Containers(ContainersOptions options, store::Rootfs& rootfs, sys::CgroupLayout cgroups);

  [[nodiscard]] const Paths& paths() const { return options_.paths; }
  [[nodiscard]] const ContainersOptions& options() const { return options_; }

  // nullptr when there is no such handler.
  [[nodiscard]] const RuntimeEntry* Handler(const std::string& name) const;

  // Returns the record with user and pid filled in; its phase stays the caller's. On an error resources
  // may remain: the caller calls Destroy.
  Result<ContainerRecord> Create(ContainerRecord record, const CreateInputs& inputs, Deadline deadline);

  Result<monitor::State> Start(const ContainerRecord& record, Deadline deadline);

  // `resources` onto its cgroup, all or none. kFailedPrecondition when it has no cgroup any more.
  Status ApplyResources(const ContainerRecord& record, const sys::Resources& resources) const;

  // To the first process; `all` to every process of the container. OK when it has ended.
  Status Signal(const ContainerRecord& record, int signal, bool all);

  // After the first process has ended: kills what is left of the container (processes that a shared PID
  // namespace kept alive) and removes the runtime's state and the cgroup. Idempotent.
  Status CleanUp(const ContainerRecord& record, Deadline deadline);

  // The containers that have a run directory, whether anybody knows them or not.
  [[nodiscard]] Result<std::vector<ContainerId>> ListDirectories() const;

  // Monitor, runtime state, cgroup, mounts, run directory; the writable layer stays for the next Create. Idempotent.
  Status TakeDown(const ContainerRecord& record, Deadline deadline);

  // Everything but the log: monitor, runtime state, cgroup, rootfs, writable layer, files. Idempotent.
  Status Destroy(const ContainerRecord& record, Deadline deadline);

  // kFailedPrecondition unless it is running.
  Result<monitor::ExecSession> Exec(const ContainerRecord& record, const ExecRequest& request, Deadline deadline);

 private:
  Result<oci::RuntimeSpec> PrepareRootfs(ContainerRecord& record, const CreateInputs& inputs, Deadline deadline);
  // SELinux: the pod's files, and volumes with selinux_relabel.
  Status LabelFiles(const ContainerSpec& spec, const PodEnvironment& pod, const std::string& label, Deadline deadline);
  // Named volumes that are empty get what the image has at their places, with its owners.
  static Status FillVolumes(const ContainerSpec& spec, const CreateInputs& inputs, int rootfs_fd, uint32_t host_root,
                            Deadline deadline);
  // Lets root of the pod's user namespace, and nobody else but the node's, reach the container's rootfs.
  Status OpenToMappedRoot(const ContainerId& id, const PodEnvironment& pod);
  // What a container holds of the running node: all but its files.
  Status Release(const ContainerRecord& record, Deadline deadline);
  Status WriteBundle(const ContainerRecord& record, const oci::RuntimeSpec& spec);
  Result<monitor::State> Launch(const ContainerRecord& record, Deadline deadline);
  Status CheckCgroup(const ContainerRecord& record) const;
  // Tells systemd of the limits that stand in its cgroup: it would write what it knows of the scope again, at its next
  // reload.
  Status KeepLimits(const ContainerRecord& record) const;

  ContainersOptions options_;
  store::Rootfs& rootfs_;
  sys::CgroupLayout cgroups_;
};

}  // namespace davit::container
