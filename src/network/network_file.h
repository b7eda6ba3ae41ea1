// What a network of our own is in text: its configuration list for CNI plugins, and the file that holds it. Pure
// functions.
//
// Source: CNI specification 1.0, section 1; the READMEs of the plugins bridge, host-local, portmap and firewall
// (1.1.1).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "network/config.h"
#include "network/named_networks.h"

namespace davit::network {

// Options that have a meaning; each has the names that Docker and Podman give it.
struct NetworkOptions {
  int mtu = 0;           // 0: the kernel's
  bool isolate = false;  // no traffic to other bridges
  bool masquerade = true;
  std::string bridge;   // empty: the next free davit<N>
  std::string host_ip;  // of published ports that name none
};
// kInvalidArgument naming the option whose value cannot be.
Result<NetworkOptions> ParseNetworkOptions(const std::map<std::string, std::string>& options);

// [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most kMaxNetworkName.
Status ValidateNetworkName(std::string_view name);
// A name that the kernel takes for a link, of letters, digits, '_', '.' and '-'.
Status ValidateLinkName(std::string_view name, std::string_view field);
// Fills gateway; kInvalidArgument naming what lies outside of the subnet, or a subnet too small.
Result<SubnetConfig> CompleteSubnet(SubnetConfig subnet);

// The configuration list of `network`, whose subnets and interface are there. `let_through`: the node forwards nothing
// that no rule lets through, so the plugin firewall makes one for each pod.
Result<std::string> ConfigOf(const NamedNetwork& network, const std::string& lease_directory, bool let_through);

// The file: the list with `network` under "davit".
Result<std::string> NetworkFileText(const NamedNetwork& network);
// kInvalidArgument or kDataLoss for what this version does not write. `name` is the file's, without its suffix.
Result<NamedNetwork> ParseNetworkFile(std::string_view text, std::string_view name);

// `config` as one pod gets it: without the plugin portmap unless it publishes ports, without routes unless it leads
// out.
Result<NetworkConfig> ConfigForPod(const NamedNetwork& network, bool with_ports, bool with_routes);

}  // namespace davit::network
