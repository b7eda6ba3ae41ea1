// FirstProcess: the child's side of CreateContainer.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"
#include "native/channel.h"
#include "native/container.h"
#include "native/mounts.h"
#include "native/namespaces.h"
#include "native/prepared_mounts.h"
#include "native/process_plan.h"
#include "native/process_setup.h"
#include "native/procfs.h"
#include "native/seccomp.h"
#include "native/seccomp_agent.h"
#include "oci/runtime_spec.h"

namespace davit::native {

// Made by the caller; Run and RunBetween are called in the child, once, and end with it. References outlive it.
struct FirstProcess {
  FirstProcess(const oci::RuntimeSpec& its_spec, const CreateOptions& its_options, Procfs its_procfs)
      : spec(its_spec), options(its_options), procfs(std::move(its_procfs)) {}

  const oci::RuntimeSpec& spec;
  const CreateOptions& options;
  Procfs procfs;
  ProcessPlan plan = {};
  NamespacePlan namespaces = {};
  SeccompFilter filter = {};
  sys::UniqueFd agent = {};
  PreparedMounts mounts = {};
  Channel channel = {};

  // The container's process itself.
  void Run();
  // The process in between (NamespacePlan::NeedsBetween): joins, makes the process that calls Run, and ends.
  void RunBetween();

 private:
  Status BecomeContainer();
  Status EnterNamespaces();
  Status SetNames();
  Status BuildRoot();
  Status SetSysctls();
  Status Wait();
  Status Finish();
  Status JoinAndClone();
  Result<int> AttachedRoot();

  pid_t pid_ = -1;  // as the caller sees it
  Terminal terminal_ = {};
  sys::UniqueFd start_ = {};  // the connection of who has called Start()
  bool in_between_ = false;   // cgroups and joins are done
};

}  // namespace davit::native
