// What a client asks of a pod sandbox: filled by cri/ from CRI's PodSandboxConfig and kept in the
// pod's record.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sys/resources.h"

namespace davit::pod {

using Labels = std::map<std::string, std::string>;

enum class NamespaceMode { kPod = 0, kContainer = 1, kNode = 2, kTarget = 3 };  // CRI's numbers
enum class Protocol { kTcp = 0, kUdp = 1, kSctp = 2 };

struct PortMapping {
  Protocol protocol = Protocol::kTcp;
  int container_port = 0;
  int host_port = 0;  // 0: not mapped to the node
  std::string host_ip;
};

struct DnsConfig {
  std::vector<std::string> servers;
  std::vector<std::string> searches;
  std::vector<std::string> options;
};

// What containers of the pod take over unless they say otherwise; empty parts are the policy's defaults.
struct SelinuxOptions {
  std::string user;
  std::string role;
  std::string type;
  std::string level;
};

struct IdMapping {
  uint32_t host_id = 0;
  uint32_t container_id = 0;
  uint32_t length = 0;
};

struct UserNamespace {  // userns_options
  NamespaceMode mode = NamespaceMode::kNode;
  std::vector<IdMapping> uids;
  std::vector<IdMapping> gids;
};

// A place on one of Davit's own networks (network/named_networks.h).
struct NetworkEndpoint {
  std::string network;               // its name; empty: the default one
  std::vector<std::string> aliases;  // further names of the pod's containers there
  std::string ipv4_address;          // empty: any
  std::string ipv6_address;
  std::string mac_address;
  std::string interface;  // empty: the next of eth0, eth1, …
};

struct PodSpec {
  std::string name;
  std::string uid;
  std::string namespace_name;
  uint32_t attempt = 0;
  std::string hostname;
  std::string log_directory;
  bool has_dns = false;
  DnsConfig dns;
  std::vector<PortMapping> port_mappings;
  Labels labels;
  Labels annotations;
  std::string cgroup_parent;  // cgroupfs path; empty: Davit's own
  NamespaceMode network = NamespaceMode::kPod;
  NamespaceMode pid = NamespaceMode::kPod;
  NamespaceMode ipc = NamespaceMode::kPod;
  std::optional<UserNamespace> user;

  [[nodiscard]] bool has_user_namespace() const { return user && user->mode == NamespaceMode::kPod; }
  bool privileged = false;
  std::map<std::string, std::string> sysctls;
  SelinuxOptions selinux;
  sys::Resources resources;     // of all containers together
  sys::Resources overhead;      // of the pod itself, on top
  std::string runtime_handler;  // as asked: empty is the default

  // What CRI has no words for: of a pod that people or tools made.
  bool standalone = false;
  bool implicit = false;  // made for one container: it goes with it
  bool no_network = false;
  bool random_ports = false;              // host ports of 0 become free ones at each start
  std::vector<std::string> extra_hosts;   // "name:address"
  std::string client_data;                // opaque
  std::vector<NetworkEndpoint> networks;  // in order; none: the default network
};

}  // namespace davit::pod
