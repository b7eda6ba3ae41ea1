// NatTable: Davit's own nftables table `inet davit`: masquerade and host ports of the pods whose network davitd makes
// itself (docs/adr/0033-builtin-network.md). A pod's part are elements of hashed maps, so that adding and removing one
// costs the same with ten pods and with ten thousand ports. The rules are written once, and once for each subnet.
//
// Other programs' tables are left alone. The chains stand one behind the usual NAT priorities, so that a rule of
// kube-proxy's comes first, as it does with the portmap plugin.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "network/network.h"
#include "network/prefix.h"
#include "network/rtnetlink.h"

namespace davit::network {

// What leaves from this address for anywhere but its own subnet gets the node's address.
struct Masquerade {
  Address pod;
  Prefix subnet;
};

// A port of the node's that leads to a pod.
struct Forward {
  Protocol protocol = Protocol::kTcp;
  int host_port = 0;
  std::optional<Address> host_ip;  // of the pod's family; nullopt: every address of the node
  Address pod;
  int pod_port = 0;
  // Who comes from this subnet, or from 127.0.0.1, gets the node's address too: an answer would not come back this way
  // otherwise. Length 0: everyone. nullopt: nobody.
  std::optional<Prefix> snat;
};

struct NatEntries {
  std::vector<Masquerade> masquerades;
  std::vector<Forward> forwards;
};

class NatTable {
 public:
  // In the network namespace of the calling thread.
  static Result<NatTable> Open();

  // All or nothing. Makes the table when it is not there. kFailedPrecondition naming a host port that leads to another
  // pod already. What an earlier pod of the same address has left is replaced.
  Status Add(const NatEntries& entries);
  // OK when nothing is there; what belongs to other pods stays.
  Status Remove(const NatEntries& entries);
  // Takes away the rules of a subnet that no pod has an address of any more.
  Status Sweep(const std::vector<Prefix>& subnets);

 private:
  explicit NatTable(NetlinkSocket socket) : socket_(std::move(socket)) {}

  struct Element {
    std::string map;
    std::string key;
    std::string data;
    std::string what;  // for people: "host port 80/tcp"
  };
  static std::vector<Element> ElementsOf(const NatEntries& entries);
  // nullopt: there is none.
  Result<std::optional<std::string>> Get(const std::string& map, const std::string& key);
  Result<bool> Uses(const std::string& map, const std::string& data);
  // (map of rules, subnet) of those that are looked up there.
  static std::set<std::pair<std::string, std::string>> RulesFor(const std::vector<Element>& elements);
  Status WriteRules(const std::vector<Element>& elements);
  Status Change(const std::vector<Element>& gone, const std::vector<Element>& fresh);

  NetlinkSocket socket_;
};

}  // namespace davit::network
