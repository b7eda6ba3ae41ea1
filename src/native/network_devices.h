// linux.netDevices: interfaces of the machine that become the container's.
//
// Source: OCI runtime-spec 1.3, config-linux.md, "Network Devices"; rtnetlink(7).
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "base/result.h"

namespace davit::native {

// Moves each interface (the machine's name -> its name inside, empty: the same) into the network namespace of `pid`,
// with the permanent addresses of global scope that it has, and sets it up there. The kernel takes interfaces back to
// the machine, or destroys virtual ones, when the namespace ends. The caller is single-threaded: it enters the
// namespace and comes back.
Status MoveNetworkDevices(const std::map<std::string, std::string>& devices, pid_t pid);

}  // namespace davit::native
