// davit network: networks for standalone containers. The kubelet's pods have the node's configuration.
#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "cli/everyday.h"
#include "cli/filters.h"
#include "cli/format.h"
#include "cli/run_values.h"
#include "cli/table.h"
#include "davit/control/v1/networks.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

bool Holds(const control::Network& network, const std::string& key, const std::string& value) {
  if (key == "name") return network.name().find(value) != std::string::npos;
  if (key == "id") return network.id().starts_with(value);
  if (key == "driver") return network.driver() == value;
  if (key == "dangling") return network.members().empty() == (value == "true");
  return LabelHolds(network.labels(), value);
}

auto HoldsOf(const control::Network& network) {
  return [&network](const std::string& key, const std::string& value) { return Holds(network, key, value); };
}

}  // namespace

Result<int> NetworkCreate(const Context& context, const NetworkOptions& options) {
  control::CreateNetworkRequest request;
  request.set_name(options.name);
  request.set_driver(options.driver.empty() ? "bridge" : options.driver);
  request.set_internal(options.internal);
  request.set_ipv6(options.ipv6);
  request.set_no_dns(options.no_dns);
  for (const std::string& text : options.labels) {
    size_t equals = text.find('=');
    (*request.mutable_labels())[text.substr(0, equals)] = equals == std::string::npos ? "" : text.substr(equals + 1);
  }
  for (const std::string& text : options.options) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(text, "--opt"));
    (*request.mutable_options())[pair.first] = pair.second;
  }
  if (options.gateways.size() > options.subnets.size()) {
    return InvalidArgument("network create: each --gateway needs a --subnet");
  }
  for (size_t i = 0; i < options.subnets.size(); ++i) {
    control::Subnet* subnet = request.add_subnets();
    subnet->set_subnet(options.subnets[i]);
    if (i < options.gateways.size()) subnet->set_gateway(options.gateways[i]);
  }
  if (!options.ranges.empty()) {
    // "FIRST-LAST": what docker says as a smaller subnet is said with its ends.
    if (options.ranges.size() != 1 || options.subnets.size() != 1) {
      return InvalidArgument("network create: --ip-range takes FIRST-LAST, once, with one --subnet");
    }
    std::vector<std::string> ends = Split(options.ranges.front(), '-');
    if (ends.size() != 2)
      return InvalidArgument("--ip-range \"" + Printable(options.ranges[0]) + "\" is not FIRST-LAST");
    request.mutable_subnets(0)->set_range_start(ends[0]);
    request.mutable_subnets(0)->set_range_end(ends[1]);
  }
  ASSIGN_OR_RETURN(control::CreateNetworkResponse made, context.client.Call(request));
  PrintLine(made.network().id());
  return 0;
}

Result<int> NetworkList(const Context& context, const Names& texts, bool quiet) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(texts, {"name", "id", "driver", "dangling", "label"}));
  ASSIGN_OR_RETURN(control::ListNetworksResponse list, context.client.Call(control::ListNetworksRequest()));
  control::ListNetworksResponse shown;
  for (const control::Network& network : list.networks()) {
    if (Matches(filters, HoldsOf(network))) *shown.add_networks() = network;
  }
  std::sort(shown.mutable_networks()->begin(), shown.mutable_networks()->end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(shown));
    return 0;
  }
  Table table({"NETWORK ID", "NAME", "DRIVER", "SUBNETS", "PODS"});
  for (const control::Network& network : shown.networks()) {
    if (quiet) {
      PrintLine(network.id());
      continue;
    }
    Names subnets;
    for (const control::Subnet& subnet : network.subnets()) subnets.push_back(subnet.subnet());
    table.AddRow({DisplayId(network.id(), context.out.full),
                  network.name() + (network.is_default() ? " (default)" : ""), network.driver(), Join(subnets, ", "),
                  std::to_string(network.members_size())});
  }
  if (!quiet) Print(table.Render(context.out.colour));
  return 0;
}

Result<int> NetworkRemove(const Context& context, const Names& networks) {
  return ForEach(networks, [&](const std::string& name) {
    control::RemoveNetworkRequest request;
    request.set_network(name);
    return context.client.Call(request).status();
  });
}

Result<int> NetworkPrune(const Context& context) {
  ASSIGN_OR_RETURN(control::ListNetworksResponse list, context.client.Call(control::ListNetworksRequest()));
  int code = 0;
  for (const control::Network& network : list.networks()) {
    const bool made = network.driver() != "host" && network.driver() != "none" && network.driver() != "null";
    if (!made || network.is_default() || !network.members().empty()) continue;
    control::RemoveNetworkRequest request;
    request.set_network(network.id());
    Status status = context.client.Call(request).status();
    if (status.ok()) {
      PrintLine(network.name());
    } else if (status.code() != StatusCode::kFailedPrecondition) {  // a pod that does not run keeps its networks
      PrintError(status);
      code = 1;
    }
  }
  return code;
}

Result<int> NetworkConnect(const Context& context, const ConnectOptions& options) {
  control::ConnectNetworkRequest request;
  request.set_network(options.network);
  request.set_container(options.container);
  for (const std::string& alias : options.aliases) request.add_aliases(alias);
  request.set_ipv4_address(options.ipv4);
  request.set_ipv6_address(options.ipv6);
  RETURN_IF_ERROR(context.client.Call(request).status());
  return 0;
}

Result<int> NetworkDisconnect(const Context& context, const ConnectOptions& options) {
  control::DisconnectNetworkRequest request;
  request.set_network(options.network);
  request.set_container(options.container);
  request.set_force(options.force);
  RETURN_IF_ERROR(context.client.Call(request).status());
  return 0;
}

}  // namespace davit::cli
