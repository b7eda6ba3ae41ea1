// From a container's request to the OCI runtime's config.json: arguments, environment, namespaces, mounts,
// devices, capabilities, limits. Decides and checks; makes nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "container/annotations.h"
#include "container/apparmor.h"
#include "container/environment.h"
#include "container/handler.h"
#include "container/own_mounts.h"
#include "container/record.h"
#include "container/users.h"
#include "oci/image_spec.h"
#include "oci/runtime_spec.h"
#include "sys/cgroup_limits.h"
#include "sys/host_paths.h"
#include "sys/signal_names.h"

namespace davit::container {

class Cdi;
class SeccompCache;
class Selinux;

// What this node can give, read once at start-up.
struct NodeLimits {
  std::vector<std::string> capabilities;  // davitd's bounding set: what "all" can mean here
  int64_t oom_score_adj = 0;              // of davitd
  bool may_lower_oom_score_adj = false;   // holds CAP_SYS_RESOURCE
  bool cgroup_v2 = false;
  int64_t pids_limit = -1;
  sys::CgroupAbilities cgroups;
  std::vector<std::string> default_capabilities;
  std::string seccomp_profile;   // file of RuntimeDefault; empty: there is none
  bool tighten_seccomp = false;  // it is the distribution's and not an administrator's: seccomp_default.h
  AppArmorNode apparmor;
  std::shared_ptr<const Selinux> selinux;       // nullptr: off
  std::shared_ptr<SeccompCache> seccomp_cache;  // nullptr: every profile is compiled by the runtime
  std::shared_ptr<Cdi> cdi;                     // nullptr: no devices
  sys::HostPaths host_paths;
};

struct SpecInputs {
  const ContainerRecord* record = nullptr;  // all pointers: the caller's, for the call
  const oci::ImageConfig* image = nullptr;
  const PodEnvironment* pod = nullptr;
  const NodeLimits* node = nullptr;
  std::string rootfs;                // absolute
  std::string mounts_directory;      // where own mounts will be (own_mounts.h)
  bool recursive_read_only = false;  // the runtime handler can
  bool seccomp_bpf = false;          // the runtime handler takes a compiled filter
  HandlerSettings handler;
};

// Checks what needs no resource: called before the record of intent, so that bad input leaves no trace. Limits
// have a check of their own (container/resources.h).
// kInvalidArgument naming the field; kUnimplemented for what a later version will do.
Status ValidateSpec(const ContainerSpec& spec, const PodEnvironment& pod, bool recursive_read_only);

// Host paths of mounts are resolved here (symlinks followed); kInvalidArgument naming the mount when a
// source is not there. The user is set by the caller once the rootfs is mounted.
struct RuntimePlan {
  oci::RuntimeSpec spec;
  std::vector<OwnMount> own_mounts;  // to be made before the runtime is run
};
Result<RuntimePlan> BuildRuntimeSpec(const SpecInputs& inputs);

// Numbers in both sets, the process's home as HOME when the environment has none. Groups that are in the
// specification already stay.
void SetUser(oci::RuntimeSpec& spec, const User& user);

using sys::ParseSignal;

}  // namespace davit::container
