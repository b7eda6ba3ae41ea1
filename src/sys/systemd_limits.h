// The limits of a systemd unit, kept equal to what stands in the files of its cgroup.
//
// davitd checks, writes and reads back limits as cgroup files, the same way under both drivers. systemd writes
// its own idea of a unit's limits whenever it looks at the unit anew (daemon-reload, a new unit beside it), so
// what was written has to become the unit's properties too. Cgroup version 2; on version 1 nothing is done.
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "sys/cgroup.h"
#include "sys/systemd_bus.h"

namespace davit::sys {

// What stands in the files of a version 2 cgroup's directory. A file that is not there (the controller is off)
// leaves its limit unset. kInternal for what the kernel does not write.
Result<UnitLimits> ReadUnitLimits(const std::string& directory);

// Makes the limits of a scope's or slice's cgroup its unit's properties. Call it after writing them. Nothing is
// done for any other cgroup.
Status KeepUnitLimits(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline);

}  // namespace davit::sys
