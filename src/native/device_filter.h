// Which devices a cgroup's processes may use: the rules of linux.resources.devices, as lists of the devices controller
// (cgroup version 1) or as a program of the kernel (version 2).
//
// Sources: Documentation/admin-guide/cgroup-v1/devices.rst; Documentation/admin-guide/cgroup-v2.rst, "Device
// controller"; bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "oci/runtime_resources.h"

namespace davit::native {

// The rules with what stands around them: first nothing is allowed, and at the end comes what every container has
// (config-linux.md, "Default Devices": mknod of anything, null, zero, full, random, urandom, tty, ptmx and pts). When
// everything is allowed nothing is added.
std::vector<oci::DeviceRule> EffectiveDeviceRules(const std::vector<oci::DeviceRule>& rules);

// Version 1, directory of the devices controller.
Status WriteDeviceLists(const std::string& directory, const std::vector<oci::DeviceRule>& rules);

// Version 2. The last matching rule decides, none: forbidden.
using BpfProgram = std::vector<uint64_t>;  // struct bpf_insn each
BpfProgram CompileDeviceRules(const std::vector<oci::DeviceRule>& rules);
// Loads the program and puts it in the place of any that the cgroup has had. kPermissionDenied, kUnimplemented.
Status AttachDeviceProgram(const std::string& directory, const BpfProgram& program);

}  // namespace davit::native
