// Network: gives a pod's network namespace its interface, addresses and host ports, and takes them
// away again.
//
// Why two steps: an address lease, a veth and NAT rules outlive davitd, so what will be made has to be
// recorded before it is made (ARCHITECTURE.md, invariant 1). Plan() decides, and its Attachment goes
// into the pod's record; Attach() makes; Detach() unmakes from the record alone, even when the node's
// network configuration has changed or gone since, and even when the namespace is gone.
//
//   ASSIGN_OR_RETURN(Attachment planned, network.Plan(request));
//   record.attachment = planned;  // saved
//   ASSIGN_OR_RETURN(Attachment attached, network.Attach(request, planned, deadline));
//   record.attachment = attached;  // saved
//   ...
//   RETURN_IF_ERROR(network.Detach(request, record.attachment, deadline));
//
// Source: CNI specification 1.0 and 1.1 (github.com/containernetworking/cni SPEC.md), configurations
// of 0.1.0 to 1.1.0.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/ids.h"
#include "base/result.h"

namespace davit::network {

enum class Protocol { kTcp, kUdp, kSctp };
std::string_view ProtocolName(Protocol protocol);  // "tcp", "udp", "sctp"

struct PortMapping {
  Protocol protocol = Protocol::kTcp;
  int container_port = 0;  // 1 to 65535
  int host_port = 0;       // 0: the port is only declared, nothing is mapped
  std::string host_ip;     // empty: every address of the node

  friend bool operator==(const PortMapping&, const PortMapping&) = default;
};

// A pod's place on one network of NamedNetworks.
struct EndpointRequest {
  std::string network;                 // name or id; empty: the default network
  std::vector<std::string> addresses;  // static ones, at most one of each family
  std::string mac;                     // empty: any
  std::string interface;               // empty: the next free eth<N>

  friend bool operator==(const EndpointRequest&, const EndpointRequest&) = default;
};

struct NetworkRequest {
  PodId pod;         // CNI_CONTAINERID
  std::string name;  // pod metadata, for CNI_ARGS
  std::string namespace_;
  std::string uid;
  std::string netns_path;  // pinned namespace; may be gone at Detach
  std::vector<PortMapping> ports;
  // Pod annotations, given only to plugins that declare the capability
  // "io.kubernetes.cri.pod-annotations"; "kubernetes.io/ingress-bandwidth" and egress-bandwidth also
  // become the "bandwidth" capability.
  std::map<std::string, std::string> annotations;
  std::string cgroup_path;  // for the capability "cgroupPath"; empty: not given
  // Of a standalone pod, in order: the first one with a way out has the default route and the host ports. Empty: the
  // node's own configuration.
  std::vector<EndpointRequest> endpoints;
  bool random_ports = false;  // a host port of 0 becomes a free one, at Plan
};

// One interface of a pod on a named network, as it is made or to be made.
struct EndpointAttachment {
  std::string network;                 // its name
  std::string interface;               // "eth0"
  std::string config;                  // the exact configuration list (JSON)
  std::string result;                  // the last plugin's result (JSON); empty while unknown
  std::vector<std::string> addresses;  // the static ones that were asked for
  std::string mac;                     // the one that was asked for
  bool publishes = false;              // the host ports lead here
  bool leaving = false;                // it is being taken away from a running pod
  bool dns = false;                    // names of this network are answered
  bool builtin = false;                // davitd makes and unmakes it, and not the plugins

  friend bool operator==(const EndpointAttachment&, const EndpointAttachment&) = default;
};

// What a result says of an endpoint, for people and for names.
struct EndpointAddresses {
  std::vector<std::string> ip_cidrs;  // "10.89.0.5/24"
  std::string gateway;                // of the first address that has one
  std::string mac;
};
// Empty for an endpoint without a result.
EndpointAddresses AddressesOf(const EndpointAttachment& endpoint);

// What a pod has, or may have, of the network. A value that the pod's record holds as text.
struct Attachment {
  std::string config;              // the exact configuration list (JSON) that ADD and DEL run with
  std::string result;              // the last plugin's result (JSON); empty while unknown
  std::vector<std::string> ips;    // bare addresses in the order of the result, the primary one first
  std::vector<PortMapping> ports;  // those with a host port
  bool builtin = false;            // as of an endpoint, of `config`
  // Of a standalone pod, instead of `config` and `result`.
  std::vector<EndpointAttachment> endpoints;

  // One JSON object, of version 1 where there are no endpoints and of version 2 where there are. Parse takes at most 8
  // MiB and what ToJson of this or the version before wrote; kInvalidArgument otherwise. An empty text is an empty
  // Attachment (a pod on the host's network).
  [[nodiscard]] std::string ToJson() const;
  static Result<Attachment> Parse(std::string_view text);

  [[nodiscard]] bool empty() const { return config.empty() && endpoints.empty(); }
  friend bool operator==(const Attachment&, const Attachment&) = default;
};

struct Readiness {
  bool ready = false;
  std::string reason;   // CamelCase, for a CRI condition; empty when ready
  std::string message;  // a sentence for people: what is missing and where
};

// All methods may be called from any thread, for different pods at the same time; calls for one pod
// come in order (the pod's strand).
class Network {
 public:
  virtual ~Network() = default;

  // Chooses the configuration and checks the request; makes nothing and does not block on plugins.
  // kFailedPrecondition: no usable configuration, a plugin that is missing or not trustworthy, or host
  // ports that no plugin can map.
  // kInvalidArgument: a bad port, address or name in the request.
  virtual Result<Attachment> Plan(const NetworkRequest& request) = 0;

  // Makes what `planned` says; blocks for as long as the plugins take, at most until the deadline.
  // When it fails everything made is taken away again (a failure of that is appended to the error).
  // kUnavailable: a plugin asked to try again later; kDeadlineExceeded; kFailedPrecondition: a plugin
  // is missing or not trustworthy; kInternal: a plugin's own error, with its text.
  virtual Result<Attachment> Attach(const NetworkRequest& request, Attachment planned, Deadline deadline) = 0;

  // Takes away what `attachment` may have made. Idempotent; OK when nothing is there; an empty
  // attachment is OK. Every plugin is tried, the first error is returned. The caller marks the pod
  // stopped all the same and tries again later.
  //
  // Call it while the namespace is still pinned. It works without, but then the bridge plugin (1.1.1)
  // finds the interface's addresses no more and leaves their masquerade rules behind.
  virtual Status Detach(const NetworkRequest& request, const Attachment& attachment, Deadline deadline) = 0;

  // Both answer at once from the loaded snapshot.
  [[nodiscard]] virtual Readiness Ready() const = 0;
  // The loaded configuration and rejected files as JSON, for Status(verbose).
  [[nodiscard]] virtual std::string StatusJson() const = 0;
};

}  // namespace davit::network
