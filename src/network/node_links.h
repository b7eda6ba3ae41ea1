// What the node has of links, addresses and routes, asked of the kernel (rtnetlink(7)) in the calling thread's network
// namespace.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "network/prefix.h"

namespace davit::network {

// The subnets of every address, and every route but default ones, link-local and multicast ones.
Result<std::vector<Prefix>> UsedPrefixes();

Result<std::vector<std::string>> LinkNames();

// Whether any link is a port of this bridge. kNotFound when there is no such link.
Result<bool> BridgeHasPorts(const std::string& bridge);

// Deletes the link if it is a bridge. OK when there is none of this name; kFailedPrecondition when it is something
// else.
Status RemoveBridge(const std::string& bridge);

}  // namespace davit::network
