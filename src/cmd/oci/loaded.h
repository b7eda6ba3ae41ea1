// A container that is there, with everything that the verbs need of it.
#pragma once

#include <optional>
#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "cmd/oci/verbs.h"
#include "native/state.h"
#include "oci/runtime_spec.h"
#include "sys/cgroup.h"
#include "sys/process.h"

namespace davit::oci_cli {

struct Loaded {
  native::ContainerState state;
  native::Record record;
  native::ContainerStatus status = native::ContainerStatus::kStopped;
};

// Without the lock, for reading. kNotFound "container ID does not exist".
Result<Loaded> Load(const Globals& globals, const std::string& id);
// With it, for changing.
Result<Loaded> LoadLocked(const Globals& globals, const std::string& id);

// The specification as it was at the creation.
Result<oci::RuntimeSpec> LoadSpec(const Loaded& container);

// Ends everything that the record names: processes, cgroup, group of resctrl; then the hooks of poststop and the state.
// Idempotent. `spec` may be nullptr: no hooks are run.
Status Destroy(const native::ContainerState& state, const native::Record& record, const oci::RuntimeSpec* spec);

}  // namespace davit::oci_cli
