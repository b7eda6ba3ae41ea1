// NamedNetworks: the networks of standalone pods, each a CNI configuration list of Davit's own.
//
//   <directory>/<name>.conflist    what the plugins get, and under the key "davit" what we need to know of it
//   <leases>/<name>/               host-local's leases; gone with the boot, as the pods that hold them
//
// The default network "bridge" is always in the list; its file is written when a pod first uses it, with 10.88.0.0/16
// unless something of the node is there. Others get a /24 from 10.89.0.0 upward. Formats: docs/formats/networks.md.
//
// Reads answer from memory. What changes the list is serialised by a lock of its own, which readers never take.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "network/prefix.h"

namespace davit::network {

inline constexpr std::string_view kDefaultNetwork = "bridge";
inline constexpr size_t kMaxNetworks = 1024;
inline constexpr size_t kMaxNetworkName = 128;
inline constexpr size_t kMaxLinkName = 15;  // IFNAMSIZ - 1
inline constexpr uint32_t kNetworkFileVersion = 1;

struct SubnetConfig {
  std::string subnet;       // "10.89.0.0/24"
  std::string gateway;      // never empty once made
  std::string range_start;  // empty: the whole subnet
  std::string range_end;

  friend bool operator==(const SubnetConfig&, const SubnetConfig&) = default;
};

// What is asked for, and what is: a value.
struct NamedNetwork {
  uint32_t version = kNetworkFileVersion;
  std::string id;
  std::string name;
  std::string driver = "bridge";
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> options;  // those of network_options.h have a meaning, others are kept
  std::vector<SubnetConfig> subnets;           // at most one of each family
  bool internal = false;                       // no way out: neither default route nor masquerade
  bool ipv6 = false;
  bool dns = true;           // containers find each other by name
  int64_t created_at = 0;    // wall nanoseconds; 0: the default network, not made yet
  std::string interface;     // the bridge
  bool keep_bridge = false;  // it was there before: it stays

  std::string config;  // the configuration list (JSON); empty: not made yet

  [[nodiscard]] bool is_default() const { return name == kDefaultNetwork; }
};

using NetworkPtr = std::shared_ptr<const NamedNetwork>;
using NetworkList = std::map<std::string, NetworkPtr>;  // by name

struct NamedNetworksOptions {
  std::string directory;  // "<root>/networks": made with mode 0700
  std::string leases;     // "<state>/networks"
};

class NamedNetworks {
 public:
  // Reads every file once; one that is wrong costs itself and is said in the log.
  static Result<std::unique_ptr<NamedNetworks>> Open(NamedNetworksOptions options);

  // Any thread, at once.
  [[nodiscard]] std::shared_ptr<const NetworkList> List() const;
  // By name, id, or an unambiguous beginning of an id; "" is the default network. kNotFound naming the text,
  // kInvalidArgument when it fits several.
  [[nodiscard]] Result<NetworkPtr> Find(std::string_view text) const;

  // The same, ready for a pod: the default network is made if it is not.
  Result<NetworkPtr> Use(std::string_view text);

  // `wanted`: name (empty: "net1", …), driver, labels, options, subnets, internal, ipv6, dns. kAlreadyExists: the name;
  // kInvalidArgument naming the field; kResourceExhausted: no subnet is free, or there are too many networks.
  Result<NetworkPtr> Create(NamedNetwork wanted);

  // Its bridge and its leases too. No pod is on it: that is the caller's to know. kFailedPrecondition for the default
  // network, and when something else is a port of the bridge.
  Status Remove(std::string_view text);

  // Of a network that is not in the list any more: takes its bridge and leases away if nobody uses them. For the last
  // pod of one whose file went away.
  void Sweep(const std::string& name, const std::string& bridge);

 private:
  explicit NamedNetworks(NamedNetworksOptions options);
  void Load();
  void Show(NetworkList list);
  Result<NetworkPtr> Make(NamedNetwork wanted);
  Status PickSubnets(NamedNetwork& network) const;
  Status PickInterface(NamedNetwork& network) const;
  [[nodiscard]] std::string PathOf(const std::string& name) const;

  const NamedNetworksOptions options_;
  std::mutex making_;                // who makes or removes one; held over the file's write, not taken by readers
  mutable std::mutex pointer_lock_;  // held to copy or swap one pointer
  std::shared_ptr<const NetworkList> list_;
};

}  // namespace davit::network
