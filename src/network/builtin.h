// The network that davitd makes without a plugin (docs/adr/0033-builtin-network.md): bridge with host-local addresses,
// loopback, portmap, tuning of sysctls, and bandwidth without limits, with the plugins' own configurations, leases and
// results. Everything else is theirs.
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "network/builtin_chain.h"
#include "network/config.h"
#include "network/link_removals.h"
#include "network/nat_table.h"
#include "network/plugin.h"

namespace davit::network {

class BuiltinNetwork {
 public:
  // OK: davitd can carry this configuration out by itself for this pod. Otherwise why not.
  static Status Can(const NetworkConfig& config, const PluginContext& context);

  // As AddNetwork and DelNetwork of plugin.h, and with results that are equal to theirs. From any thread of the node's
  // network namespace.
  Result<std::string> Add(const NetworkConfig& config, const PluginContext& context, Deadline deadline);
  Status Del(const NetworkConfig& config, const PluginContext& context, const std::string& cached_result);
  // Waits until the links of pods that have ended are gone: Del() does not.
  void Settle() { links_.Settle(); }

 private:
  Result<std::string> AddOnce(const BuiltinChain& chain, const PluginContext& context, Deadline deadline, bool retry);

  NatTables tables_;
  LinkRemovals links_;
};

}  // namespace davit::network
