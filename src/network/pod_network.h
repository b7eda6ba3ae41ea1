// PodNetwork: the network of every pod. The kubelet's pods get the node's own configuration (CniNetwork); standalone
// ones get an interface on each of their networks (NamedNetworks), by the same plugins and under the same rules:
// planned and recorded before it is made, and taken away from the record alone.
#pragma once

#include <string>
#include <vector>

#include "network/builtin.h"
#include "network/named_networks.h"
#include "network/network.h"
#include "network/plugin.h"
#include "network/port_claims.h"

namespace davit::network {

inline constexpr size_t kMaxEndpoints = 32;

struct PodNetworkOptions {
  std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"};
  unsigned plugin_owner = 0;
  bool builtin = false;  // as CniOptions::builtin
};

class PodNetwork final : public Network {
 public:
  // `node` and `networks` outlive this.
  PodNetwork(PodNetworkOptions options, Network& node, NamedNetworks& networks);

  // Of a request with endpoints also: kNotFound naming a network; kFailedPrecondition for a host port that is in use. A
  // planned pod that is never attached is given up with Forget() or Detach().
  Result<Attachment> Plan(const NetworkRequest& request) override;
  Result<Attachment> Attach(const NetworkRequest& request, Attachment planned, Deadline deadline) override;
  Status Detach(const NetworkRequest& request, const Attachment& attachment, Deadline deadline) override;
  [[nodiscard]] Readiness Ready() const override { return node_.Ready(); }
  [[nodiscard]] std::string StatusJson() const override { return node_.StatusJson(); }

  // ---- A running pod with endpoints gets a further one, or loses one ----
  // `present`: what it has. kAlreadyExists when it is on that network. Adds the planned endpoint at the end.
  Result<Attachment> PlanFurther(const NetworkRequest& request, const EndpointRequest& endpoint, Attachment present);
  // Makes those without a result, as Attach does; when one fails, those that it has made are taken away again.
  Result<Attachment> AttachFurther(const NetworkRequest& request, Attachment attachment, Deadline deadline);
  // Takes away those that are leaving, or without a result. The attachment returned has them no more.
  Result<Attachment> DetachLeaving(const NetworkRequest& request, Attachment attachment, Deadline deadline);

  // Host ports of a pod that an earlier davitd has attached.
  void Adopt(const PodId& pod, const Attachment& attachment) { claims_.Adopt(pod, attachment.ports); }
  void Forget(const PodId& pod) { claims_.Release(pod); }

 private:
  Result<EndpointAttachment> PlanOne(const EndpointRequest& endpoint, const NamedNetwork& network,
                                     const std::vector<EndpointAttachment>& present, bool publishes, bool leads_out);
  Result<PluginContext> ContextFor(const NetworkRequest& request, const EndpointAttachment& endpoint,
                                   const std::vector<PortMapping>& ports) const;
  Status AttachOne(const NetworkRequest& request, EndpointAttachment& endpoint, const std::vector<PortMapping>& ports,
                   Deadline deadline);
  Status DetachOne(const NetworkRequest& request, const EndpointAttachment& endpoint,
                   const std::vector<PortMapping>& ports, Deadline deadline);

  const PodNetworkOptions options_;
  Network& node_;
  NamedNetworks& networks_;
  BuiltinNetwork builtin_;
  PortClaims claims_;
};

}  // namespace davit::network
