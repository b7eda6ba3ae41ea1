// Sandboxes: makes and unmakes the resources of one pod sandbox, always from its record.
//
// Order: record of intent (engine) | namespaces, with sysctls and hostname | network | files | shm | init,
// when the PID namespace is shared | record. Stop and Destroy undo it from the record alone and are
// idempotent: the same code serves a failed run, a removal, and recovery after SIGKILL.
//
// No pause container: namespaces are pinned by bind mounts. Only a shared PID namespace needs a process,
// davit-init.
#pragma once

#include <chrono>
#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "network/network.h"
#include "pod/paths.h"
#include "pod/record.h"
#include "sys/cgroup.h"
#include "sys/cgroup_limits.h"

namespace davit::pod {

struct SandboxesOptions {
  Paths paths;
  std::string init_path;                     // the davit-init binary
  std::chrono::seconds network_timeout{60};  // for all plugins of one ADD or DEL together
  bool systemd_cgroups = false;              // pods are slices of systemd, else plain cgroups
  sys::CgroupAbilities cgroup_abilities;     // what limits of pods can be here
  bool inspect_cgroups = false;              // each pod has an empty cgroup "crio-<id>" (cri/crio_inspection.h)
};

// The attachment and what readers see of it.
void SetAttachment(PodRecord& record, const network::Attachment& attachment);
void ClearAttachment(PodRecord& record);
// What `network` is asked for one place of a standalone pod.
network::EndpointRequest ToEndpointRequest(const NetworkEndpoint& endpoint);

class Sandboxes {
 public:
  // `network` outlives this.
  Sandboxes(SandboxesOptions options, network::Network& network, sys::CgroupLayout cgroups);

  [[nodiscard]] const Paths& paths() const { return options_.paths; }

  // Checks the request and fills the record of intent: hostname, cgroup, the planned network. Makes
  // nothing. kInvalidArgument naming the field; kFailedPrecondition when there is no network
  // configuration.
  Result<PodRecord> Plan(PodRecord record) const;

  // What of Plan needs no network: for a pod that is only defined. Errors as Plan's.
  Status Validate(const PodSpec& spec) const;

  // Makes what the record says; returns it with addresses and init filled in. On an error resources may
  // remain: the caller calls Destroy.
  Result<PodRecord> Run(PodRecord record, Deadline deadline);

  // Ends what the pod holds of the running node: network, namespaces, init. Files stay for inspection.
  // A network that cannot be taken away now is no error: the record returned keeps its attachment.
  Result<PodRecord> Stop(PodRecord record, Deadline deadline);

  // Everything. An error of the network is an error here: nothing would remember it later.
  Status Destroy(const PodRecord& record, Deadline deadline);

  // Limits of the spec as they are now onto the pod's cgroup, all or none. Nothing to do where the cgroup is
  // not Davit's (pod/resources.h).
  Status ApplyResources(const PodRecord& record) const;
  Status ValidateResources(const PodSpec& spec) const;

  // From now on the pod's names are answered inside of it: its resolv.conf says so, also to containers that run.
  Status UseResolver(PodRecord& record) const;

  // The lines of /etc/hosts with the pod's own addresses, also for containers that run; what they wrote there stays.
  Status UpdateHosts(const PodRecord& record, const std::vector<std::string>& ips_before) const;

  // False when its namespaces or its init are gone, by a reboot or by force.
  [[nodiscard]] bool Alive(const PodRecord& record) const;

  // What the network is asked for this pod.
  [[nodiscard]] network::NetworkRequest RequestFor(const PodRecord& record) const;

 private:
  [[nodiscard]] Deadline NetworkDeadline(Deadline deadline) const;
  Status MakeNamespaces(const PodRecord& record);
  Status WriteFiles(const PodRecord& record);
  Status MountShm(const PodRecord& record);
  Result<PodRecord> StartInit(PodRecord record, Deadline deadline);
  Status KillInit(const PodRecord& record, Deadline deadline);
  [[nodiscard]] Result<PodRecord> PlanCgroup(PodRecord record) const;
  Status RemoveCgroup(const PodRecord& record, Deadline deadline);
  Status DropNamespaces(const PodRecord& record);

  SandboxesOptions options_;
  network::Network& network_;
  sys::CgroupLayout cgroups_;
};

}  // namespace davit::pod
