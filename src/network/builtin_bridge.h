// A pod's place on a bridge: the bridge, a pair of veth links, the pod's addresses and routes. What the bridge plugin
// does, by rtnetlink.
#pragma once

#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "network/builtin_chain.h"

namespace davit::network {

struct BridgePlace {
  std::string bridge_mac;
  std::string host_link;  // the end on the node
  std::string host_mac;
  std::string mac;  // of the pod's interface
};

// A route of the pod, as the result tells it.
struct PodRoute {
  Prefix destination;
  std::optional<Address> gateway;  // nullopt: that of the first address of the family
};

// The routes of the configuration, and a default one of each family where the configuration says so.
std::vector<PodRoute> RoutesOf(const BuiltinChain& chain, const std::vector<Lease>& leases);

// Makes all of it, in the calling thread's namespace and in the one pinned at `netns`.
Result<BridgePlace> JoinBridge(const BuiltinChain& chain, const std::vector<Lease>& leases, const std::string& netns,
                               const std::string& interface, Deadline deadline);

}  // namespace davit::network
