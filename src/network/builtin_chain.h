// BuiltinChain: a configuration list as davitd carries it out itself: one bridge with host-local addresses, and what
// the plugins after it add. Reading only, no system calls (docs/adr/0033-builtin-network.md).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "network/config.h"
#include "network/leases.h"
#include "network/network.h"
#include "network/plugin.h"

namespace davit::network {

struct BridgeSettings {
  std::string name = "cni0";
  bool gateway = false;
  bool default_gateway = false;
  bool force_address = false;
  bool masquerade = false;
  bool hairpin = false;
  bool promiscuous = false;
  int mtu = 0;      // 0: the kernel's
  std::string mac;  // of the pod's interface; empty: the kernel's
  std::string dns;  // JSON object for the result
};

struct PortSettings {
  bool snat = true;
  std::vector<PortMapping> mappings;
};

struct BuiltinChain {
  std::string cni_version;
  BridgeSettings bridge;
  LeaseConfig leases;
  std::optional<PortSettings> ports;
  std::vector<std::pair<std::string, std::string>> sysctls;  // in the pod, by path below /proc/sys
};

// The error says what davitd does not do itself, or what is wrong: then the plugins run, and say it in their own words.
Result<BuiltinChain> ReadChain(const NetworkConfig& config, const PluginContext& context);

}  // namespace davit::network
