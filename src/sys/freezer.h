// The freezer: stops every process of a cgroup where it is, and lets it go on.
//
// Version 1 has a hierarchy of its own (kernel: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst), version 2
// the file cgroup.freeze (cgroup-v2.rst). Both reach everything below the cgroup.
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "sys/cgroup.h"

namespace davit::sys {

// Returns once all of it stands still. A frozen one is OK. kNotFound: no such cgroup; kUnimplemented: the node has no
// freezer; kDeadlineExceeded: a process would not stop (it waits in the kernel), and all of it goes on again.
Status FreezeCgroup(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline);
// One that is not frozen, or not there, is OK. Returns once it goes on.
Status ThawCgroup(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline);
// Whether somebody asked for it, at the cgroup itself: not what stands above it. kNotFound, kUnimplemented.
Result<bool> IsCgroupFrozen(const CgroupLayout& layout, const std::string& cgroup);

}  // namespace davit::sys
