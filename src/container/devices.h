// Devices: the nodes that a container gets under /dev and the rules of its device cgroup, from the request's
// devices, from "privileged", and from what other parts (CDI, annotations) add.
//
// Source: OCI runtime-spec, config-linux.md, "Devices" and "Allowed Device list". A node's owner and mode are
// the host's. Reads only the host's device directory; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"

namespace davit::container {

inline constexpr size_t kMaxDevices = 4096;  // nodes of one container, those of directories counted

// What can be said of the request without looking at the host. kInvalidArgument naming the field.
Status ValidateDevices(const std::vector<Device>& devices);

// `host_devices`: a privileged container also gets the node's own devices and may use any; without it (the
// runtime handler's privileged_without_host_devices) it has the rules of an ordinary one. kInvalidArgument
// naming the field for a device that is not there or is none.
Status AddDevices(const ContainerSpec& spec, bool host_devices, oci::Linux& linux_part);

// One device, or all that lie in a directory and below it, from `field` of the request.
Status AddDevice(const Device& asked, const std::string& field, oci::Linux& linux_part);

// The host's node as the runtime's device with the path inside the container. kInvalidArgument naming the
// path unless it is a character or block device.
Result<oci::Device> HostDevice(const std::string& host_path, const std::string& container_path);

// A node with its rule; one that has the same path already gives way to it, as the later word does.
void PutDevice(oci::Device device, const std::string& access, oci::Linux& linux_part);

}  // namespace davit::container
