#include "network/pod_network.h"

#include <algorithm>
#include <set>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "network/builtin.h"
#include "network/network_file.h"
#include "network/prefix.h"
#include "network/request.h"
#include "network/result.h"
#include "oci/json.h"

namespace davit::network {
namespace {

constexpr std::chrono::seconds kUndoTime{10};

boost::json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// A member of the bridge plugin's configuration.
std::string BridgeOf(const NetworkConfig& config) {
  for (const PluginConfig& plugin : config.plugins) {
    if (plugin.type != "bridge") continue;
    auto document = oci::ParseJson(plugin.json, kMaxConfigBytes);
    if (document.ok()) return oci::JsonNode(*document, "bridge").Key("bridge").StringOr("").value_or("");
  }
  return "";
}

std::string FreeInterface(const std::vector<EndpointAttachment>& present) {
  for (size_t i = 0;; ++i) {
    std::string name = "eth" + std::to_string(i);
    if (std::none_of(present.begin(), present.end(), [&](const auto& other) { return other.interface == name; })) {
      return name;
    }
  }
}

// Each static address lies in a subnet of the network, one of a family.
Status CheckAddresses(const EndpointRequest& endpoint, const NamedNetwork& network) {
  std::set<bool> families;
  for (const std::string& text : endpoint.addresses) {
    const std::optional<Address> address = Address::Parse(text);
    if (!address) return InvalidArgument("address \"" + Printable(text) + "\" is not an IP address");
    if (!families.insert(address->v6).second) return InvalidArgument("more than one address of a family is asked for");
    bool inside = false;
    for (const SubnetConfig& subnet : network.subnets) {
      ASSIGN_OR_RETURN(Prefix prefix, Prefix::Parse(subnet.subnet));
      inside = inside || prefix.Contains(*address);
    }
    if (!inside) return InvalidArgument("address " + text + " is in no subnet of network " + network.name);
  }
  return {};
}

// Whether the endpoint's plugins set a default route.
bool LeadsOut(const EndpointAttachment& endpoint) { return endpoint.config.find("\"routes\"") != std::string::npos; }

void GatherAddresses(Attachment& attachment) {
  attachment.ips.clear();
  for (const EndpointAttachment& endpoint : attachment.endpoints) {
    if (endpoint.result.empty()) continue;
    auto result = ParseCniResult(endpoint.result);
    if (result.ok()) attachment.ips.insert(attachment.ips.end(), result->ips.begin(), result->ips.end());
  }
}

}  // namespace

PodNetwork::PodNetwork(PodNetworkOptions options, Network& node, NamedNetworks& networks)
    : options_(std::move(options)), node_(node), networks_(networks) {}

Result<EndpointAttachment> PodNetwork::PlanOne(const EndpointRequest& endpoint, const NamedNetwork& network,
                                               const std::vector<EndpointAttachment>& present, bool publishes,
                                               bool leads_out) {
  if (present.size() >= kMaxEndpoints) return InvalidArgument("more than 32 networks of one pod");
  EndpointAttachment planned;
  planned.network = network.name;
  planned.interface = endpoint.interface.empty() ? FreeInterface(present) : endpoint.interface;
  RETURN_IF_ERROR(ValidateLinkName(planned.interface, "interface"));
  for (const EndpointAttachment& other : present) {
    if (other.network == network.name) return AlreadyExists("the pod is on network " + network.name + " already");
    if (other.interface == planned.interface) {
      return InvalidArgument("interface " + planned.interface + " is that of network " + other.network);
    }
  }
  RETURN_IF_ERROR(CheckAddresses(endpoint, network));
  planned.addresses = endpoint.addresses;
  if (!endpoint.mac.empty() && !IsMacAddress(endpoint.mac)) {
    return InvalidArgument("MAC address \"" + Printable(endpoint.mac) + "\" is not one of a single interface");
  }
  planned.mac = endpoint.mac;
  planned.publishes = publishes;
  planned.dns = network.dns;
  ASSIGN_OR_RETURN(NetworkConfig config, ConfigForPod(network, publishes, leads_out));
  planned.config = config.ToJson();
  if (options_.builtin) {
    NetworkRequest plain;
    ASSIGN_OR_RETURN(PluginContext context, ContextFor(plain, planned, {}));
    planned.builtin = BuiltinNetwork::Can(config, context).ok();
  }
  if (planned.builtin) return planned;
  for (const PluginConfig& plugin : config.plugins) {
    RETURN_IF_ERROR(
        FindPlugin(plugin.type, options_.bin_dirs, options_.plugin_owner).status().Annotate("network " + network.name));
  }
  return planned;
}

Result<Attachment> PodNetwork::Plan(const NetworkRequest& request) {
  if (request.endpoints.empty()) return node_.Plan(request);
  if (request.pod.empty()) return InvalidArgument("network request without a pod id");
  Attachment planned;
  // Checks every port, and leaves out those that are only declared.
  ASSIGN_OR_RETURN(planned.ports, HostPorts(request.ports));
  if (request.random_ports) planned.ports = request.ports;
  ASSIGN_OR_RETURN([[maybe_unused]] std::string args, CniArgs(request));
  ASSIGN_OR_RETURN([[maybe_unused]] auto capabilities, CapabilityArgs(request, {}));
  std::string host_ip;
  bool out = false;
  for (const EndpointRequest& endpoint : request.endpoints) {
    ASSIGN_OR_RETURN(NetworkPtr network, networks_.Use(endpoint.network));
    const bool first_out = !out && !network->internal;
    const bool publishes = first_out && !planned.ports.empty();
    ASSIGN_OR_RETURN(EndpointAttachment place, PlanOne(endpoint, *network, planned.endpoints, publishes, first_out));
    planned.endpoints.push_back(std::move(place));
    if (!first_out) continue;
    out = true;
    ASSIGN_OR_RETURN(NetworkOptions options, ParseNetworkOptions(network->options));
    host_ip = options.host_ip;
  }
  if (!out && !planned.ports.empty()) {
    LogInfo("pod {}: its host ports are not published: all its networks are internal", request.pod.Short());
    planned.ports.clear();
  }
  for (PortMapping& port : planned.ports) {
    if (port.host_ip.empty()) port.host_ip = host_ip;
  }
  ASSIGN_OR_RETURN(planned.ports, claims_.Claim(request.pod, std::move(planned.ports)));
  return planned;
}

Result<PluginContext> PodNetwork::ContextFor(const NetworkRequest& request, const EndpointAttachment& endpoint,
                                             const std::vector<PortMapping>& ports) const {
  PluginContext context;
  context.bin_dirs = options_.bin_dirs;
  context.plugin_owner = options_.plugin_owner;
  context.container_id = request.pod.str();
  context.netns_path = request.netns_path;
  context.interface = endpoint.interface;
  ASSIGN_OR_RETURN(context.args, CniArgs(request));
  ASSIGN_OR_RETURN(context.capability_args,
                   CapabilityArgs(request, endpoint.publishes ? ports : std::vector<PortMapping>()));
  if (!endpoint.addresses.empty()) {
    boost::json::array addresses;
    for (const std::string& address : endpoint.addresses) addresses.emplace_back(View(address));
    context.capability_args["ips"] = oci::WriteJson(addresses);
  }
  if (!endpoint.mac.empty()) context.capability_args["mac"] = oci::QuoteJson(endpoint.mac);
  return context;
}

Status PodNetwork::AttachOne(const NetworkRequest& request, EndpointAttachment& endpoint,
                             const std::vector<PortMapping>& ports, Deadline deadline) {
  ASSIGN_OR_RETURN(NetworkConfig config, ParseNetworkConfig(endpoint.config));
  ASSIGN_OR_RETURN(PluginContext context, ContextFor(request, endpoint, ports));
  ASSIGN_OR_RETURN(endpoint.result,
                   endpoint.builtin ? builtin_.Add(config, context, deadline) : AddNetwork(config, context, deadline));
  return {};
}

Status PodNetwork::DetachOne(const NetworkRequest& request, const EndpointAttachment& endpoint,
                             const std::vector<PortMapping>& ports, Deadline deadline) {
  ASSIGN_OR_RETURN_WITH(NetworkConfig config, ParseNetworkConfig(endpoint.config), "recorded network");
  Result<PluginContext> context = ContextFor(request, endpoint, ports);
  if (!context.ok()) {
    // What cannot be said again must not keep the network from being taken away.
    NetworkRequest plain;
    plain.pod = request.pod;
    plain.netns_path = request.netns_path;
    context = ContextFor(plain, endpoint, ports);
    RETURN_IF_ERROR(context.status());
  }
  if (!NetnsPinned(context->netns_path)) context->netns_path.clear();
  // An endpoint whose ADD was cut short has no result: its address is in the lease, for those who cannot do without.
  std::string result =
      endpoint.result.empty() ? ResultFromLeases(config, request.pod.str(), endpoint.interface) : endpoint.result;
  Status gone =
      endpoint.builtin ? builtin_.Del(config, *context, result) : DelNetwork(config, *context, result, deadline);
  RETURN_IF_ERROR(gone.Annotate("detach network " + config.name));
  networks_.Sweep(endpoint.network, BridgeOf(config));
  return {};
}

Result<Attachment> PodNetwork::Attach(const NetworkRequest& request, Attachment planned, Deadline deadline) {
  if (planned.endpoints.empty()) return node_.Attach(request, std::move(planned), deadline);
  return AttachFurther(request, std::move(planned), deadline);
}

Result<Attachment> PodNetwork::AttachFurther(const NetworkRequest& request, Attachment attachment, Deadline deadline) {
  if (!NetnsPinned(request.netns_path)) {
    return FailedPrecondition("no network namespace is pinned at " + request.netns_path);
  }
  std::vector<size_t> made;
  for (size_t i = 0; i < attachment.endpoints.size(); ++i) {
    EndpointAttachment& endpoint = attachment.endpoints[i];
    if (!endpoint.result.empty()) continue;
    Status added = AttachOne(request, endpoint, attachment.ports, deadline);
    if (added.ok()) {
      FaultPoint("pod.run.network." + std::to_string(i));
      made.push_back(i);
      continue;
    }
    // A plugin's words about an address that is taken are a request's error, and no fault of ours.
    Status cause = added.Annotate("attach network " + endpoint.network);
    Deadline undo = Deadline::After(kUndoTime);
    if (undo.at() < deadline.at()) undo = deadline;
    for (; !made.empty(); made.pop_back()) {
      cause = cause.WithUndoError(DetachOne(request, attachment.endpoints[made.back()], attachment.ports, undo));
    }
    return cause;
  }
  GatherAddresses(attachment);
  return attachment;
}

Status PodNetwork::Detach(const NetworkRequest& request, const Attachment& attachment, Deadline deadline) {
  if (attachment.endpoints.empty()) {
    claims_.Release(request.pod);  // of one that was planned and never recorded
    return node_.Detach(request, attachment, deadline);
  }
  Status first;
  for (size_t i = attachment.endpoints.size(); i-- > 0;) {
    Status detached = DetachOne(request, attachment.endpoints[i], attachment.ports, deadline);
    FaultPoint("pod.stop.network." + std::to_string(i));
    if (first.ok()) {
      first = detached;
    } else if (!detached.ok()) {
      LogWarning("pod {}: {}", request.pod.Short(), detached.message());
    }
  }
  if (first.ok()) claims_.Release(request.pod);
  return first;
}

Result<Attachment> PodNetwork::PlanFurther(const NetworkRequest& request, const EndpointRequest& endpoint,
                                           Attachment present) {
  if (!present.config.empty())
    return FailedPrecondition("pod " + request.pod.Short() + " is on the node's own network");
  ASSIGN_OR_RETURN(NetworkPtr network, networks_.Use(endpoint.network));
  const bool out = std::any_of(present.endpoints.begin(), present.endpoints.end(), LeadsOut);
  ASSIGN_OR_RETURN(EndpointAttachment planned,
                   PlanOne(endpoint, *network, present.endpoints, /*publishes=*/false, !out && !network->internal));
  present.endpoints.push_back(std::move(planned));
  return present;
}

Result<Attachment> PodNetwork::DetachLeaving(const NetworkRequest& request, Attachment attachment, Deadline deadline) {
  for (size_t i = attachment.endpoints.size(); i-- > 0;) {
    const EndpointAttachment& endpoint = attachment.endpoints[i];
    if (!endpoint.leaving && !endpoint.result.empty()) continue;
    RETURN_IF_ERROR(DetachOne(request, endpoint, attachment.ports, deadline));
    // The pod goes on and would see it; the name may be wanted for the next one.
    if (endpoint.builtin) builtin_.Settle();
    if (endpoint.publishes) {
      attachment.ports.clear();
      claims_.Release(request.pod);
    }
    attachment.endpoints.erase(attachment.endpoints.begin() + static_cast<ptrdiff_t>(i));
  }
  GatherAddresses(attachment);
  return attachment;
}

}  // namespace davit::network
