// Networks with names.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <set>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/filters.h"
#include "api/json_out.h"
#include "api/json_reader.h"
#include "client/client.h"
#include "davit/control/v1/networks.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

const std::vector<std::string> kFilters = {"name",     "id",    "driver", "label", "label!",
                                           "dangling", "scope", "type",   "until"};

template <class Response>
Status Said(Api& api, const Result<Response>& response) {
  return api.engine().networks.Missing(response.status()) ? NeedsDavit("networks") : response.status();
}

control::Network Fixed(const char* name) {
  control::Network network;
  network.set_name(name);
  network.set_driver(name);
  // An id that stays: clients keep them.
  std::string id(64, '0');
  std::string tail = std::string(name) == "host" ? "05" : "00";
  network.set_id(id.replace(62, 2, tail));
  return network;
}

Result<std::vector<control::Network>> AllNetworks(Api& api) {
  Result<control::ListNetworksResponse> response = api.client().Call(control::ListNetworksRequest());
  RETURN_IF_ERROR(Said(api, response));
  return std::vector<control::Network>(response->networks().begin(), response->networks().end());
}

Result<control::Network> FindNetwork(Api& api, bool libpod, const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<control::Network> networks, AllNetworks(api));
  const control::Network* found = nullptr;
  for (const control::Network& network : networks) {
    bool is_default = network.is_default() && (name == "bridge" || name == "podman" || name == "default");
    if (network.name() == name || network.id() == name || is_default) return network;
    if (name.size() >= 4 && network.id().starts_with(name)) found = &network;
  }
  if (found != nullptr) return *found;
  if (!libpod && (name == "host" || name == "none")) return Fixed(name.c_str());
  return NoSuchNetwork(libpod, name);
}

// Who is on it, as Docker's inspection lists them: by container.
json::object MembersOf(Api& api, const control::Network& network) {
  json::object out;
  Result<std::vector<Entry>> entries = api.engine().Containers();
  if (!entries.ok()) return out;
  for (const control::Network::Member& member : network.members()) {
    for (const Entry& entry : *entries) {
      if (entry.container.pod_id() != member.pod_id()) continue;
      std::string ipv4;
      std::string ipv6;
      for (const std::string& cidr : member.ip_cidrs()) (cidr.find(':') == std::string::npos ? ipv4 : ipv6) = cidr;
      out[entry.container.id()] = {{"Name", entry.name},
                                   {"EndpointID", EndpointId(member.pod_id(), network.id())},
                                   {"MacAddress", member.mac_address()},
                                   {"IPv4Address", ipv4},
                                   {"IPv6Address", ipv6}};
    }
  }
  return out;
}

Result<Reply> List(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, kFilters));
  Result<std::vector<control::Network>> networks = AllNetworks(api);
  if (networks.code() == StatusCode::kUnimplemented) networks = std::vector<control::Network>();
  RETURN_IF_ERROR(networks.status());
  if (!request.libpod) {
    networks->push_back(Fixed("host"));
    networks->push_back(Fixed("none"));
  }
  json::array out;
  for (const control::Network& network : *networks) {
    std::string shown = !network.is_default() ? network.name() : request.libpod ? "podman" : "bridge";
    if (!filters.Matches("name", shown) || !filters.Begins("id", network.id()) ||
        !filters.Equals("driver", network.driver()) || !filters.Labels(network.labels()) ||
        !filters.Equals("scope", "local")) {
      continue;
    }
    bool fixed = network.is_default() || network.driver() == "host" || network.driver() == "none";
    if (filters.Has("type") && !filters.Equals("type", fixed ? "builtin" : "custom")) continue;
    if (filters.Has("dangling")) {
      bool wanted = filters.Values("dangling").front() == "true" || filters.Values("dangling").front() == "1";
      if (wanted != (!fixed && network.members_size() == 0)) continue;
    }
    out.push_back(NetworkObject(network, request.libpod));
  }
  return JsonReply(out);
}

Result<Reply> Inspect(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(control::Network network, FindNetwork(api, request.libpod, request.Param("name")));
  json::object out = NetworkObject(network, request.libpod);
  if (!request.libpod) out["Containers"] = MembersOf(api, network);
  return JsonReply(out);
}

Result<Reply> Exists(Api& api, const Request& request) {
  RETURN_IF_ERROR(FindNetwork(api, request.libpod, request.Param("name")).status());
  return EmptyReply(204);
}

control::CreateNetworkRequest ReadDocker(const JsonReader& body) {
  control::CreateNetworkRequest call;
  call.set_name(body["Name"].Str());
  call.set_driver(body["Driver"].Str("bridge"));
  call.set_internal(body["Internal"].Bool());
  call.set_ipv6(body["EnableIPv6"].Bool());
  for (const auto& [key, value] : body["Labels"].StringMap()) (*call.mutable_labels())[key] = value;
  for (const auto& [key, value] : body["Options"].StringMap()) (*call.mutable_options())[key] = value;
  for (const JsonReader& range : body["IPAM"]["Config"].Elements()) {
    if (range["Subnet"].Str().empty()) continue;
    control::Subnet* subnet = call.add_subnets();
    subnet->set_subnet(range["Subnet"].Str());
    subnet->set_gateway(range["Gateway"].Str());
  }
  return call;
}

control::CreateNetworkRequest ReadLibpod(const JsonReader& body) {
  control::CreateNetworkRequest call;
  call.set_name(body["name"].Str());
  call.set_driver(body["driver"].Str("bridge"));
  call.set_internal(body["internal"].Bool());
  call.set_ipv6(body["ipv6_enabled"].Bool());
  call.set_no_dns(body["dns_enabled"].present() && !body["dns_enabled"].Bool());
  for (const auto& [key, value] : body["labels"].StringMap()) (*call.mutable_labels())[key] = value;
  for (const auto& [key, value] : body["options"].StringMap()) (*call.mutable_options())[key] = value;
  for (const JsonReader& range : body["subnets"].Elements()) {
    control::Subnet* subnet = call.add_subnets();
    subnet->set_subnet(range["subnet"].Str());
    subnet->set_gateway(range["gateway"].Str());
    subnet->set_range_start(range["lease_range"]["start_ip"].Str());
    subnet->set_range_end(range["lease_range"]["end_ip"].Str());
  }
  return call;
}

Result<Reply> Create(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  JsonReader body = document.root();
  control::CreateNetworkRequest call = request.libpod ? ReadLibpod(body) : ReadDocker(body);
  bool ignore = body["IgnoreIfExists"].Bool() || request.Query("ignoreIfExists") == "true";
  RETURN_IF_ERROR(document.status());
  if (call.driver().empty()) call.set_driver("bridge");
  if (!request.libpod && call.name().empty()) return InvalidArgument("network name cannot be empty");
  Result<control::CreateNetworkResponse> made = api.client().Call(call);
  if (made.code() == StatusCode::kAlreadyExists && ignore) {
    ASSIGN_OR_RETURN(control::Network network, FindNetwork(api, request.libpod, call.name()));
    return JsonReply(NetworkObject(network, request.libpod));
  }
  if (made.code() == StatusCode::kAlreadyExists) {
    return AlreadyExists(request.libpod
                             ? fmt::format("network name {} already used: network already exists", call.name())
                             : fmt::format("network with name {} already exists", call.name()));
  }
  RETURN_IF_ERROR(Said(api, made));
  if (request.libpod) return JsonReply(NetworkObject(made->network(), true));
  return JsonReply(json::object{{"Id", made->network().id()}, {"Warning", ""}}, 201);
}

// Containers that are on it or will be, and pods.
Status RemoveUsers(Api& api, const control::Network& network) {
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers());
  std::set<std::string> pods;
  for (const Entry& entry : entries) {
    if (!entry.container.standalone() || !entry.pod.network_ids().contains(network.name())) continue;
    if (!entry.pod.implicit()) {
      pods.insert(entry.pod.id());
      continue;
    }
    control::RemoveStandaloneRequest remove;
    remove.set_container(entry.container.id());
    remove.set_force(true);
    remove.set_volumes(true);
    Status removed = api.client().Call(remove).status();
    if (removed.code() != StatusCode::kNotFound) RETURN_IF_ERROR(removed);
  }
  for (const std::string& pod : pods) {
    control::RemovePodRequest remove;
    remove.set_pod(pod);
    remove.set_force(true);
    Status removed = api.client().Call(remove).status();
    if (removed.code() != StatusCode::kNotFound) RETURN_IF_ERROR(removed);
  }
  return {};
}

Result<Reply> Remove(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(bool force, request.QueryBool("force", false));
  ASSIGN_OR_RETURN(control::Network network, FindNetwork(api, request.libpod, request.Param("name")));
  if (network.driver() == "host" || network.driver() == "none" || network.is_default()) {
    return PermissionDenied(fmt::format("{} is a pre-defined network and cannot be removed", request.Param("name")));
  }
  // Podman's word for it; Docker's is only about a network that is not there.
  if (force && request.libpod) RETURN_IF_ERROR(RemoveUsers(api, network));
  control::RemoveNetworkRequest call;
  call.set_network(network.name());
  Result<control::RemoveNetworkResponse> removed = api.client().Call(call);
  if (removed.code() == StatusCode::kFailedPrecondition && !request.libpod) {
    return PermissionDenied(
        fmt::format("error while removing network: network {} has active endpoints", network.name()));
  }
  RETURN_IF_ERROR(Said(api, removed));
  if (!request.libpod) return EmptyReply(204);
  return JsonReply(json::array{{{"Name", network.name()}, {"Err", nullptr}}});
}

Result<Reply> Connect(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  JsonReader body = document.root();
  control::ConnectNetworkRequest call;
  std::string container = body["Container"].Str();
  if (request.libpod && container.empty()) container = body["container"].Str();
  JsonReader endpoint = body["EndpointConfig"];
  for (const std::string& alias : endpoint["Aliases"].Strings()) call.add_aliases(alias);
  for (const std::string& alias : body["aliases"].Strings()) call.add_aliases(alias);
  call.set_ipv4_address(endpoint["IPAMConfig"]["IPv4Address"].Str());
  call.set_ipv6_address(endpoint["IPAMConfig"]["IPv6Address"].Str());
  for (const std::string& address : body["static_ips"].Strings()) call.set_ipv4_address(address);
  call.set_mac_address(endpoint["MacAddress"].Str(body["static_mac"].Str()));
  call.set_interface(body["interface_name"].Str());
  RETURN_IF_ERROR(document.status());
  ASSIGN_OR_RETURN(control::Network network, FindNetwork(api, request.libpod, request.Param("name")));
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, container, false));
  if (!entry.container.standalone()) return KubernetesOwns("connect", entry.name);
  call.set_network(network.name());
  call.set_container(entry.container.id());
  RETURN_IF_ERROR(Said(api, api.client().Call(call)));
  return EmptyReply(200);
}

Result<Reply> Disconnect(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  control::DisconnectNetworkRequest call;
  std::string container = document.root()["Container"].Str();
  call.set_force(document.root()["Force"].Bool());
  RETURN_IF_ERROR(document.status());
  ASSIGN_OR_RETURN(control::Network network, FindNetwork(api, request.libpod, request.Param("name")));
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, container, false));
  if (!entry.container.standalone()) return KubernetesOwns("disconnect", entry.name);
  call.set_network(network.name());
  call.set_container(entry.container.id());
  RETURN_IF_ERROR(Said(api, api.client().Call(call)));
  return EmptyReply(200);
}

Result<Reply> Prune(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, kFilters));
  ASSIGN_OR_RETURN(std::vector<control::Network> networks, AllNetworks(api));
  json::array names;
  json::array reports;
  for (const control::Network& network : networks) {
    if (network.is_default() || network.driver() != "bridge" || network.members_size() > 0) continue;
    if (!filters.Labels(network.labels())) continue;
    control::RemoveNetworkRequest call;
    call.set_network(network.name());
    Status status = api.client().Call(call).status();
    if (status.ok()) names.emplace_back(network.name());
    reports.push_back(
        {{"Name", network.name()}, {"Error", status.ok() ? json::value(nullptr) : json::value(status.message())}});
  }
  if (request.libpod) return JsonReply(reports);
  return JsonReply(json::object{{"NetworksDeleted", std::move(names)}});
}

}  // namespace

void AddNetworkRoutes(Router& router) {
  router.Add(Flavour::kCompat, "GET", "/networks", List);
  router.Add(Flavour::kLibpod, "GET", "/networks/json", List);
  router.Add(Flavour::kBoth, "POST", "/networks/create", Create);
  router.Add(Flavour::kBoth, "POST", "/networks/prune", Prune);
  router.Add(Flavour::kCompat, "GET", "/networks/{name}", Inspect);
  router.Add(Flavour::kLibpod, "GET", "/networks/{name}/json", Inspect);
  router.Add(Flavour::kLibpod, "GET", "/networks/{name}", Inspect);  // Python's podman
  router.Add(Flavour::kLibpod, "GET", "/networks/{name}/exists", Exists);
  router.Add(Flavour::kBoth, "DELETE", "/networks/{name}", Remove);
  router.Add(Flavour::kBoth, "POST", "/networks/{name}/connect", Connect);
  router.Add(Flavour::kBoth, "POST", "/networks/{name}/disconnect", Disconnect);
}

}  // namespace davit::api
