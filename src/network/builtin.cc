#include "network/builtin.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>

#include "base/fault.h"
#include "base/log.h"
#include "network/builtin_bridge.h"
#include "network/builtin_chain.h"
#include "network/leases.h"
#include "network/nat_table.h"
#include "network/result.h"
#include "network/rtnetlink.h"
#include "network/stale_flows.h"
#include "oci/json.h"

namespace davit::network {
namespace {

namespace json = boost::json;

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// What a recorded address was leased from.
std::optional<Lease> LeaseOf(const LeaseConfig& config, const Address& address) {
  for (const LeaseRangeSet& set : config.sets) {
    for (const LeaseRange& range : set) {
      if (range.subnet.Contains(address)) return Lease{address, range.subnet, range.gateway};
    }
  }
  return std::nullopt;
}

const Lease* FirstOf(const std::vector<Lease>& leases, bool v6) {
  auto found = std::find_if(leases.begin(), leases.end(), [&](const Lease& lease) { return lease.address.v6 == v6; });
  return found == leases.end() ? nullptr : &*found;
}

// What the pod has in the node's table, from its addresses and its request alone.
NatEntries EntriesOf(const BuiltinChain& chain, const std::vector<Lease>& leases) {
  NatEntries entries;
  if (chain.bridge.masquerade) {
    for (const Lease& lease : leases) entries.masquerades.push_back({lease.address, lease.subnet});
  }
  if (!chain.ports) return entries;
  for (const PortMapping& port : chain.ports->mappings) {
    std::optional<Address> host_ip = Address::Parse(port.host_ip);
    // The first address of each family has the ports.
    for (bool v6 : {false, true}) {
      const Lease* lease = FirstOf(leases, v6);
      if (lease == nullptr || (host_ip && host_ip->v6 != v6)) continue;
      Forward forward;
      forward.protocol = port.protocol;
      forward.host_port = port.host_port;
      forward.host_ip = host_ip;
      // "0.0.0.0" and "::": every address, but of that family alone.
      if (host_ip && *host_ip == Address{v6, {}}) forward.host_ip.reset();
      forward.pod = lease->address;
      forward.pod_port = port.container_port;
      if (chain.ports->snat) forward.snat = lease->subnet;
      entries.forwards.push_back(std::move(forward));
    }
  }
  return entries;
}

// A connection to the node's own 127.0.0.1 leaves by the bridge, with that source until it is masqueraded.
Status RouteLocalnet(const BuiltinChain& chain, const std::vector<Lease>& leases) {
  const Lease* lease = FirstOf(leases, false);
  if (!chain.ports->snat || lease == nullptr) return {};
  ASSIGN_OR_RETURN(RouteSocket host, RouteSocket::Open());
  ASSIGN_OR_RETURN(std::string link, host.LinkTo(lease->address));
  if (link.empty()) return {};
  return sys::WriteValue("/proc/sys/net/ipv4/conf/" + link + "/route_localnet", "1");
}

Status AddNat(NatTables& tables, const BuiltinChain& chain, const std::vector<Lease>& leases) {
  const NatEntries entries = EntriesOf(chain, leases);
  if (!entries.forwards.empty()) RETURN_IF_ERROR(RouteLocalnet(chain, leases));
  if (entries.masquerades.empty() && entries.forwards.empty()) return {};
  RETURN_IF_ERROR(tables.With([&](NatTable& table) { return table.Add(entries); }));
  FaultPoint("pod.run.builtin.nat");
  for (bool v6 : {false, true}) {
    std::set<int> ports;
    for (const Forward& forward : entries.forwards) {
      if (forward.protocol == Protocol::kUdp && forward.pod.v6 == v6) ports.insert(forward.host_port);
    }
    // After the table has changed, so that what comes meanwhile goes the new way.
    RETURN_IF_ERROR(ForgetUdpFlows(ports, v6));
  }
  return {};
}

std::string ResultText(const BuiltinChain& chain, const std::vector<Lease>& leases, const BridgePlace& place,
                       const PluginContext& context) {
  json::object result;
  result["cniVersion"] = "1.0.0";
  result["interfaces"] = json::array{
      json::object{{"name", View(chain.bridge.name)}, {"mac", View(place.bridge_mac)}},
      json::object{{"name", View(place.host_link)}, {"mac", View(place.host_mac)}},
      json::object{{"name", View(context.interface)}, {"mac", View(place.mac)}, {"sandbox", View(context.netns_path)}}};
  json::array& ips = result["ips"].emplace_array();
  for (const Lease& lease : leases) {
    const std::string cidr = lease.address.ToString() + "/" + std::to_string(lease.subnet.length);
    ips.push_back(json::object{{"interface", 2}, {"address", View(cidr)}, {"gateway", View(lease.gateway.ToString())}});
  }
  json::array routes;
  for (const PodRoute& route : RoutesOf(chain, leases)) {
    json::object entry{{"dst", View(route.destination.ToString())}};
    if (route.gateway) entry["gw"] = View(route.gateway->ToString());
    routes.push_back(std::move(entry));
  }
  if (!routes.empty()) result["routes"] = std::move(routes);
  auto dns = oci::ParseJson(chain.bridge.dns.empty() ? "{}" : chain.bridge.dns);
  result["dns"] = dns.ok() ? std::move(*dns) : json::value(json::object());
  return oci::WriteJson(result);
}

Result<std::string> Build(NatTables& tables, const BuiltinChain& chain, const PluginContext& context,
                          std::vector<Lease>& leases, Deadline deadline) {
  ASSIGN_OR_RETURN(leases, TakeLeases(chain.leases, context.container_id, context.interface));
  ASSIGN_OR_RETURN(BridgePlace place, JoinBridge(chain, leases, context.netns_path, context.interface, deadline));
  RETURN_IF_ERROR(AddNat(tables, chain, leases));
  if (deadline.expired()) return DeadlineExceeded("the network is made too late");
  return ConvertCniResult(ResultText(chain, leases, place, context), chain.cni_version);
}

// The pod's addresses: of its result, or of its leases while there is none.
Result<std::vector<Lease>> RecordedLeases(const BuiltinChain& chain, const PluginContext& context,
                                          const std::string& cached_result) {
  std::vector<Address> addresses;
  if (!cached_result.empty()) {
    auto result = ParseCniResult(cached_result);
    for (const std::string& ip : result.ok() ? result->ips : std::vector<std::string>()) {
      if (auto address = Address::Parse(ip)) addresses.push_back(*address);
    }
  }
  if (addresses.empty()) {
    ASSIGN_OR_RETURN(addresses, FindLeases(chain.leases, context.container_id, context.interface));
  }
  std::vector<Lease> leases;
  for (const Address& address : addresses) {
    if (auto lease = LeaseOf(chain.leases, address)) leases.push_back(*lease);
  }
  return leases;
}

Status Unbuild(NatTables& tables, LinkRemovals& links, const BuiltinChain& chain, const PluginContext& context,
               const std::vector<Lease>& leases) {
  const NatEntries entries = EntriesOf(chain, leases);
  if (!entries.masquerades.empty() || !entries.forwards.empty()) {
    RETURN_IF_ERROR(tables.With([&](NatTable& table) { return table.Remove(entries); }));
    FaultPoint("pod.stop.builtin.nat");
  }
  if (!context.netns_path.empty()) RETURN_IF_ERROR(links.Remove(context.netns_path, context.interface));
  FaultPoint("pod.stop.builtin.link");
  std::vector<Address> addresses;
  for (const Lease& lease : leases) addresses.push_back(lease.address);
  // Last: who gets the address next must find nothing of ours.
  RETURN_IF_ERROR(ReleaseLeases(chain.leases, context.container_id, context.interface, addresses));
  FaultPoint("pod.stop.builtin.lease");
  return {};
}

}  // namespace

Status BuiltinNetwork::Can(const NetworkConfig& config, const PluginContext& context) {
  return ReadChain(config, context).status();
}

Result<std::string> BuiltinNetwork::Add(const NetworkConfig& config, const PluginContext& context, Deadline deadline) {
  ASSIGN_OR_RETURN(BuiltinChain chain, ReadChain(config, context));
  return AddOnce(chain, context, deadline, /*retry=*/true);
}

Result<std::string> BuiltinNetwork::AddOnce(const BuiltinChain& chain, const PluginContext& context, Deadline deadline,
                                            bool retry) {
  if (deadline.expired()) return DeadlineExceeded("no time is left to make the network");
  const auto begin = Deadline::Clock::now();
  std::vector<Lease> leases;
  Result<std::string> result = Build(tables_, chain, context, leases, deadline);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::Clock::now() - begin);
  LogDebug("network {} made for pod {} after {} us", chain.leases.directory, context.container_id, took.count());
  if (result.ok()) return result;
  Status undone = Unbuild(tables_, links_, chain, context, leases);
  // The interface of before may still be on its way out.
  const bool again = retry && undone.ok() && result.status().code() == StatusCode::kAlreadyExists;
  if (!again) return result.status().WithUndoError(undone);
  links_.Settle();
  return AddOnce(chain, context, deadline, /*retry=*/false);
}

Status BuiltinNetwork::Del(const NetworkConfig& config, const PluginContext& context,
                           const std::string& cached_result) {
  ASSIGN_OR_RETURN(BuiltinChain chain, ReadChain(config, context));
  ASSIGN_OR_RETURN(std::vector<Lease> leases, RecordedLeases(chain, context, cached_result));
  const auto begin = Deadline::Clock::now();
  Status undone = Unbuild(tables_, links_, chain, context, leases);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::Clock::now() - begin);
  LogDebug("network {} taken from pod {} after {} us", config.name, context.container_id, took.count());
  return undone;
}

}  // namespace davit::network
