// Leases: the addresses that a network has given away, in the files of the host-local plugin: `<dataDir>/<network>/`
// with one file for each address, named by it, that holds the container's id and the interface, and `lock`. So the
// plugin and davitd can take turns on a node, and work on it at the same time.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/prefix.h"
#include "oci/json.h"
#include "sys/unique_fd.h"

namespace davit::network {

struct LeaseRange {
  Prefix subnet;
  Address first;  // both inclusive
  Address last;
  Address gateway;

  [[nodiscard]] bool Contains(const Address& address) const;
};
using LeaseRangeSet = std::vector<LeaseRange>;  // of one family; one address is given from each set

struct LeaseRoute {
  Prefix destination;
  std::string text;  // as it stood in the configuration
  std::optional<Address> gateway;
};

struct LeaseConfig {
  std::string directory;  // `<dataDir>/<network>`
  std::vector<LeaseRangeSet> sets;
  std::vector<LeaseRoute> routes;
  std::vector<Address> wanted;  // static addresses
};

struct Lease {
  Address address;
  Prefix subnet;
  Address gateway;
};

// Of the "ipam" object of the type host-local. `ranges` and `ips` are its capabilities' arguments, or absent. An error
// for whatever the plugin would refuse, or has in another way than davitd.
Result<LeaseConfig> ReadLeaseConfig(const oci::JsonNode& ipam, const std::string& network, const oci::JsonNode& ranges,
                                    const oci::JsonNode& ips);

// The addresses of `set` in the order in which they are tried: from the one after `last` on, the gateways left out.
// Pure; for each address `take` says whether it goes on.
void EachCandidate(const LeaseRangeSet& set, const std::optional<Address>& last,
                   const std::function<bool(const Lease&)>& take);

// Gives an address of each set, or none at all. kResourceExhausted: all are given away.
Result<std::vector<Lease>> TakeLeases(const LeaseConfig& config, const std::string& id, const std::string& interface);

// Gives back what this interface of the container has. `known`: its addresses, where they are known: only those files
// are looked at then. OK when there is nothing.
Status ReleaseLeases(const LeaseConfig& config, const std::string& id, const std::string& interface,
                     const std::vector<Address>& known);

// What ReleaseLeases would give back, found by reading every lease.
Result<std::vector<Address>> FindLeases(const LeaseConfig& config, const std::string& id, const std::string& interface);

}  // namespace davit::network
