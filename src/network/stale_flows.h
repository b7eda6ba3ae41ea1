// Entries of connection tracking that would keep sending packets of a host port to where it led before.
#pragma once

#include <set>

#include "base/result.h"

namespace davit::network {

// Forgets the UDP flows to these ports of one family, in the calling thread's network namespace. TCP and SCTP begin a
// new flow by themselves; a UDP client that goes on sending keeps the old one alive for ever.
Status ForgetUdpFlows(const std::set<int>& ports, bool v6);

}  // namespace davit::network
