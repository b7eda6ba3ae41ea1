// The network that davitd makes without a plugin (docs/adr/0033-builtin-network.md): bridge with host-local addresses,
// loopback, portmap, tuning of sysctls, and bandwidth without limits, with the plugins' own configurations, leases and
// results. Everything else is theirs.
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "network/config.h"
#include "network/plugin.h"

namespace davit::network {

// OK: davitd can carry this configuration out by itself for this pod. Otherwise why not.
Status CanBuild(const NetworkConfig& config, const PluginContext& context);

// As AddNetwork and DelNetwork of plugin.h, and with results that are equal to theirs.
Result<std::string> BuildNetwork(const NetworkConfig& config, const PluginContext& context, Deadline deadline);
Status UnbuildNetwork(const NetworkConfig& config, const PluginContext& context, const std::string& cached_result);

}  // namespace davit::network
