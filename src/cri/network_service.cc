#include "cri/network_service.h"

#include <algorithm>

#include "base/strings.h"
#include "cri/codes.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

constexpr int kMaxNetworks = 32;  // of one pod
constexpr int kMaxAliases = 64;
constexpr size_t kMaxAlias = 253;  // RFC 1035, as text
constexpr int kMaxSubnets = 8;

template <class Map>
std::map<std::string, std::string> ToMap(const Map& map) {
  return {map.begin(), map.end()};
}

void Fill(const engine::NetworkView& in, control::v1::Network& out) {
  const network::NamedNetwork& network = *in.network;
  out.set_id(network.id);
  out.set_name(network.name);
  out.set_driver(network.driver);
  out.mutable_labels()->insert(network.labels.begin(), network.labels.end());
  out.mutable_options()->insert(network.options.begin(), network.options.end());
  for (const network::SubnetConfig& subnet : network.subnets) {
    control::v1::Subnet* to = out.add_subnets();
    to->set_subnet(subnet.subnet);
    to->set_gateway(subnet.gateway);
    to->set_range_start(subnet.range_start);
    to->set_range_end(subnet.range_end);
  }
  out.set_internal(network.internal);
  out.set_ipv6(network.ipv6);
  out.set_dns(network.dns);
  out.set_created_at(network.created_at);
  out.set_interface(network.interface);
  out.set_is_default(network.is_default());
  for (const engine::NetworkMember& member : in.members) {
    control::v1::Network::Member* to = out.add_members();
    to->set_pod_id(member.pod.str());
    for (const std::string& cidr : member.endpoint.ip_cidrs) to->add_ip_cidrs(cidr);
    to->set_mac_address(member.endpoint.mac_address);
    to->set_interface(member.endpoint.interface);
  }
}

Status CheckAliases(const ::google::protobuf::RepeatedPtrField<std::string>& aliases) {
  if (aliases.size() > kMaxAliases) return InvalidArgument("aliases: more than " + std::to_string(kMaxAliases));
  for (const std::string& alias : aliases) {
    const bool good = !alias.empty() && alias.size() <= kMaxAlias &&
                      std::all_of(alias.begin(), alias.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
    if (!good) return InvalidArgument("alias \"" + Printable(alias) + "\" is empty, too long or no name");
  }
  return {};
}

// ConnectNetworkRequest and NetworkEndpointConfig have the same fields.
template <class Message>
Result<pod::NetworkEndpoint> ToEndpoint(const Message& in) {
  RETURN_IF_ERROR(CheckAliases(in.aliases()));
  pod::NetworkEndpoint out;
  out.network = in.network();
  out.aliases = {in.aliases().begin(), in.aliases().end()};
  out.ipv4_address = in.ipv4_address();
  out.ipv6_address = in.ipv6_address();
  out.mac_address = in.mac_address();
  out.interface = in.interface();
  return out;
}

}  // namespace

Result<std::vector<pod::NetworkEndpoint>> ToEndpoints(const control::v1::PodOptions& options) {
  if (options.networks_size() > kMaxNetworks) {
    return InvalidArgument("networks: more than " + std::to_string(kMaxNetworks));
  }
  std::vector<pod::NetworkEndpoint> endpoints;
  for (const control::v1::NetworkEndpointConfig& config : options.networks()) {
    ASSIGN_OR_RETURN(pod::NetworkEndpoint endpoint, ToEndpoint(config));
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

void AddNetworks(const pod::PodRecord& record, control::v1::Pod& out) {
  for (const pod::NetworkEndpoint& endpoint : record.spec.networks) {
    control::v1::NetworkEndpointConfig* to = out.mutable_options()->add_networks();
    to->set_network(endpoint.network);
    for (const std::string& alias : endpoint.aliases) to->add_aliases(alias);
    to->set_ipv4_address(endpoint.ipv4_address);
    to->set_ipv6_address(endpoint.ipv6_address);
    to->set_mac_address(endpoint.mac_address);
    to->set_interface(endpoint.interface);
  }
  for (const pod::AttachedEndpoint& endpoint : record.endpoints) {
    control::v1::NetworkEndpoint* to = out.add_networks();
    to->set_network(endpoint.network);
    to->set_interface(endpoint.interface);
    for (const std::string& cidr : endpoint.ip_cidrs) to->add_ip_cidrs(cidr);
    to->set_gateway(endpoint.gateway);
    to->set_mac_address(endpoint.mac_address);
    for (const std::string& alias : endpoint.aliases) to->add_aliases(alias);
  }
  for (const pod::PortMapping& port : record.ports) {
    ::runtime::v1::PortMapping* to = out.add_ports();
    to->set_protocol(static_cast<::runtime::v1::Protocol>(port.protocol));
    to->set_container_port(port.container_port);
    to->set_host_port(port.host_port);
    to->set_host_ip(port.host_ip);
  }
}

NetworkService::Reactor* NetworkService::CreateNetwork(Context* context,
                                                       const control::v1::CreateNetworkRequest* request,
                                                       control::v1::CreateNetworkResponse* response) {
  if (request->subnets_size() > kMaxSubnets) return Answer(context, InvalidArgument("subnets: more than 8"));
  network::NamedNetwork wanted;
  wanted.name = request->name();
  wanted.driver = request->driver();
  wanted.labels = ToMap(request->labels());
  wanted.options = ToMap(request->options());
  for (const control::v1::Subnet& subnet : request->subnets()) {
    wanted.subnets.push_back({subnet.subnet(), subnet.gateway(), subnet.range_start(), subnet.range_end()});
  }
  wanted.internal = request->internal();
  wanted.ipv6 = request->ipv6();
  wanted.dns = !request->no_dns();
  Reactor* reactor = context->DefaultReactor();
  engine_.CreateNetwork(std::move(wanted),
                        FinishWith<engine::NetworkView>(reactor, [response](const engine::NetworkView& view) {
                          Fill(view, *response->mutable_network());
                        }));
  return reactor;
}

NetworkService::Reactor* NetworkService::ListNetworks(Context* context, const control::v1::ListNetworksRequest* request,
                                                      control::v1::ListNetworksResponse* response) {
  Result<std::vector<engine::NetworkView>> views =
      engine_.Networks({request->networks().begin(), request->networks().end()});
  if (views.ok()) {
    for (const engine::NetworkView& view : *views) Fill(view, *response->add_networks());
  }
  return Answer(context, views.status());
}

NetworkService::Reactor* NetworkService::RemoveNetwork(Context* context,
                                                       const control::v1::RemoveNetworkRequest* request,
                                                       control::v1::RemoveNetworkResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.RemoveNetwork(request->network(), FinishEmpty(reactor));
  return reactor;
}

NetworkService::Reactor* NetworkService::ConnectNetwork(Context* context,
                                                        const control::v1::ConnectNetworkRequest* request,
                                                        control::v1::ConnectNetworkResponse*) {
  Result<pod::NetworkEndpoint> endpoint = ToEndpoint(*request);
  if (!endpoint.ok()) return Answer(context, endpoint.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.ConnectNetwork(request->container(), std::move(*endpoint), FinishEmpty(reactor));
  return reactor;
}

NetworkService::Reactor* NetworkService::DisconnectNetwork(Context* context,
                                                           const control::v1::DisconnectNetworkRequest* request,
                                                           control::v1::DisconnectNetworkResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.DisconnectNetwork(request->network(), request->container(), request->force(), FinishEmpty(reactor));
  return reactor;
}

}  // namespace davit::cri
