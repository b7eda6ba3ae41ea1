// Statistics of a container's cgroup in the form that `events` prints them, which is runc's: containerd's shim and
// others read it.
#pragma once

#include <string>

#include "sys/cgroup_stats.h"

namespace davit::native {

// {"type":"stats","id":"...","data":{...}}; what the kernel does not tell is left out.
std::string StatsEvent(const std::string& id, const sys::CgroupDetail& detail);

}  // namespace davit::native
