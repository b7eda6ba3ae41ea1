// NatTable: Davit's own nftables table `inet davit`: masquerade and host ports of the pods whose network davitd makes
// itself (docs/adr/0033-builtin-network.md). A pod's part are elements of hashed maps, so that adding and removing one
// costs the same with ten pods and with ten thousand ports. The rules are written once, and once for each subnet.
// The rules of a subnet stay when its last pod goes, and do nothing then: writing them anew for the next one would take
// longer than all the rest.
//
// Other programs' tables are left alone. The chains stand one behind the usual NAT priorities, so that a rule of
// kube-proxy's comes first, as it does with the portmap plugin.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
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
  // otherwise. nullopt: nobody.
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

 private:
  explicit NatTable(NetlinkSocket socket) : socket_(std::move(socket)) {}

  struct Element {
    std::string map;  // or set: then there are no data
    std::string key;
    std::string data;
    std::string what;  // for people: "host port 80/tcp"
  };
  // That of a port, and right after it that of its source address.
  static std::vector<Element> ElementsOf(const NatEntries& entries);
  // nullopt: there is none.
  Result<std::optional<std::string>> Get(const std::string& map, const std::string& key);
  Result<bool> HasSet(const std::string& name);
  Status WriteRules(const NatEntries& entries);
  Status Change(const std::vector<Element>& gone, const std::vector<Element>& fresh);

  NetlinkSocket socket_;
};

// NatTables lends tables to threads, and keeps their sockets open: closing one waits until the kernel has freed what
// its last change has replaced, which takes some milliseconds.
class NatTables {
 public:
  // For one change at a time. The first one opens its socket in the calling thread's namespace.
  Status With(const std::function<Status(NatTable&)>& work);

 private:
  std::mutex mutex_;
  std::vector<NatTable> idle_;
};

}  // namespace davit::network
