// What a pod's request becomes for the plugins: CNI_ARGS and the runtime configuration of each
// capability. Pure functions.
//
// Source: CNI conventions (CONVENTIONS.md) for "portMappings", "bandwidth" and CNI_ARGS; the
// Kubernetes annotations kubernetes.io/{ingress,egress}-bandwidth.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "network/network.h"

namespace davit::network {

inline constexpr size_t kMaxPorts = 4096;

// The mappings that have a host port. kInvalidArgument for a port out of range, a host address that is
// none, or two mappings of one host port, address and protocol.
Result<std::vector<PortMapping>> HostPorts(const std::vector<PortMapping>& ports);

// "IgnoreUnknown=1;K8S_POD_NAMESPACE=...". kInvalidArgument when a value holds ';', '=' or a control
// character, which would forge other arguments.
Result<std::string> CniArgs(const NetworkRequest& request);

// A Kubernetes quantity ("10M", "512Ki", "1e6") as a whole number of bits per second, 1 to 2^50;
// nullopt when it is none.
std::optional<uint64_t> ParseBandwidth(std::string_view text);

// Runtime configuration by capability, as JSON text. kInvalidArgument for a bad bandwidth annotation.
Result<std::map<std::string, std::string>> CapabilityArgs(const NetworkRequest& request,
                                                          const std::vector<PortMapping>& host_ports);

}  // namespace davit::network
