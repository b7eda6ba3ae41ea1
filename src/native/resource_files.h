// linux.resources as files of a cgroup: what sys/cgroup_limits.h has not, because CRI has not.
//
// Sources: Documentation/admin-guide/cgroup-v1/{blkio-controller,memory,net_cls,net_prio,pids,rdma}.rst, cgroup-v2.rst,
// Documentation/scheduler/{sched-bwc,sched-rt-group}.rst.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "oci/runtime_resources.h"
#include "sys/cgroup.h"
#include "sys/cgroup_limits.h"

namespace davit::native {

// The part that sys::ApplyCgroupLimits writes. Zero means "not set", as engines have always written it.
sys::CgroupLimits CommonLimits(const oci::Resources& resources);

// Everything else but devices.
Status WriteOtherLimits(const sys::CgroupLayout& layout, const std::string& cgroup, const oci::Resources& resources);

Status WriteDeviceRules(const sys::CgroupLayout& layout, const std::string& cgroup,
                        const std::vector<oci::DeviceRule>& rules);

}  // namespace davit::native
