#include "network/builtin_bridge.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <chrono>

#include "base/fault.h"
#include "base/strings.h"
#include "network/rtnetlink.h"
#include "sys/namespaces.h"
#include "sys/unique_fd.h"

namespace davit::network {
namespace {

using std::chrono::microseconds;

constexpr int kNameTries = 8;
constexpr std::chrono::seconds kSettleTime{10};

// Of the calling thread's network namespace. The names have been checked; a dot in one must not become a slash.
Status WriteLinkSysctl(const char* family, const std::string& link, const char* name, const char* value) {
  return sys::WriteValue(std::string("/proc/sys/net/") + family + "/conf/" + link + "/" + name, value);
}

// Asks again until it is so: the kernel finishes a link's coming up by itself, some microseconds later.
Status Await(const std::string& what, Deadline deadline, const std::function<Result<bool>()>& ask) {
  const Deadline end = deadline.Min(Deadline::After(kSettleTime));
  for (microseconds pause{100};; pause = std::min(pause * 2, microseconds{10'000})) {
    ASSIGN_OR_RETURN(bool so, ask());
    if (so) return {};
    if (end.expired()) return DeadlineExceeded(what);
    const timespec wait{0, pause.count() * 1000};
    ::ppoll(nullptr, 0, &wait, nullptr);
  }
}

Result<LinkState> EnsureBridge(RouteSocket& host, const BridgeSettings& settings) {
  auto bridge = host.Find(settings.name);
  if (bridge.ok() && bridge->kind == "bridge" && (bridge->flags & IFF_UP) != 0 && !settings.promiscuous) return bridge;
  if (!bridge.ok() && bridge.code() != StatusCode::kNotFound) return bridge;
  if (!bridge.ok()) {
    Status made = host.AddBridge(settings.name, settings.mtu);
    if (!made.ok() && made.code() != StatusCode::kAlreadyExists) return made;
    FaultPoint("pod.run.builtin.bridge");
    ASSIGN_OR_RETURN(bridge, host.Find(settings.name));
  }
  if (bridge->kind != "bridge") return FailedPrecondition("link " + settings.name + " is there already and no bridge");
  if (settings.promiscuous) RETURN_IF_ERROR(host.SetPromiscuous(bridge->index));
  // Its routes are the node's own business, not those of whoever advertises some. Without IPv6 there is no such file.
  IgnoreError(WriteLinkSysctl("ipv6", settings.name, "accept_ra", "0"));
  RETURN_IF_ERROR(host.SetUp(bridge->index));
  return bridge;
}

Result<std::string> RandomLinkName() {
  uint8_t bytes[4];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return ErrnoError(errno, "get random bytes");
  return "veth" + HexEncode({reinterpret_cast<const char*>(bytes), sizeof bytes});
}

Result<LinkState> MakeVeth(RouteSocket& host, const BridgeSettings& settings, const LinkState& bridge, int netns,
                           const std::string& interface) {
  VethRequest request;
  request.peer = interface;
  request.peer_netns = netns;
  request.mtu = settings.mtu;
  request.peer_mac = settings.mac;
  request.master = bridge.index;
  Status made;
  for (int i = 0; i < kNameTries; ++i) {
    ASSIGN_OR_RETURN(request.name, RandomLinkName());
    auto taken = host.Find(request.name);
    if (taken.ok()) continue;
    made = host.AddVeth(request);
    break;
  }
  if (made.code() == StatusCode::kAlreadyExists) {
    return AlreadyExists("container veth name (\"" + interface + "\") already exists");
  }
  RETURN_IF_ERROR(made);
  FaultPoint("pod.run.builtin.veth");
  ASSIGN_OR_RETURN(LinkState link, host.Find(request.name));
  IgnoreError(WriteLinkSysctl("ipv6", link.name, "accept_ra", "0"));
  if (settings.hairpin) RETURN_IF_ERROR(host.SetHairpin(link.index, true));
  RETURN_IF_ERROR(host.SetUp(link.index));
  return link;
}

Status EnableIpv6(const std::string& interface) {
  for (const std::string& link : {std::string("lo"), interface}) {
    const std::string path = "/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6";
    auto value = sys::ReadFile(path, 64);
    if (!value.ok()) continue;  // adding the address says what is wrong
    if (Trim(*value) != "0") RETURN_IF_ERROR(sys::WriteValue(path, "0"));
  }
  return {};
}

// Runs in the pod's namespace; gives the MAC address of the interface.
Result<std::string> ConfigurePod(const BuiltinChain& chain, const std::vector<Lease>& leases,
                                 const std::string& interface, Deadline deadline) {
  ASSIGN_OR_RETURN(RouteSocket pod, RouteSocket::Open());
  ASSIGN_OR_RETURN(LinkState link, pod.Find(interface));
  const bool v6 = std::any_of(leases.begin(), leases.end(), [](const Lease& lease) { return lease.address.v6; });
  // The lease says that nobody else has the address, so that it is of use at once.
  IgnoreError(WriteLinkSysctl("ipv6", interface, "accept_dad", "0"));
  // Neighbours forget who had the address before.
  IgnoreError(WriteLinkSysctl("ipv4", interface, "arp_notify", "1"));
  if (v6) RETURN_IF_ERROR(EnableIpv6(interface));
  for (const Lease& lease : leases) {
    RETURN_IF_ERROR(pod.AddAddress(link.index, {lease.address, lease.subnet.length, false}));
  }
  RETURN_IF_ERROR(pod.SetUp(link.index));
  FaultPoint("pod.run.builtin.addressed");
  if (v6) {
    RETURN_IF_ERROR(Await("addresses of " + interface + " are still being probed", deadline, [&]() -> Result<bool> {
      ASSIGN_OR_RETURN(std::vector<LinkAddress> addresses, pod.Addresses(link.index, true));
      return std::none_of(addresses.begin(), addresses.end(), [](const LinkAddress& one) { return one.tentative; });
    }));
  }
  for (const PodRoute& route : RoutesOf(chain, leases)) {
    std::optional<Address> gateway = route.gateway;
    for (const Lease& lease : leases) {
      if (!gateway && lease.gateway.v6 == route.destination.address.v6) gateway = lease.gateway;
    }
    RETURN_IF_ERROR(pod.AddRoute(link.index, route.destination, gateway));
  }
  for (const auto& [path, value] : chain.sysctls) {
    RETURN_IF_ERROR(sys::WriteValue("/proc/sys/" + path, value).Annotate("plugin tuning"));
  }
  return link.mac;
}

// The gateway's address is the bridge's.
Status EnsureGateway(RouteSocket& host, const BridgeSettings& settings, const LinkState& bridge, const Lease& lease) {
  const LinkAddress wanted{lease.gateway, lease.subnet.length, false};
  ASSIGN_OR_RETURN(std::vector<LinkAddress> present, host.Addresses(bridge.index, lease.gateway.v6));
  for (const LinkAddress& one : present) {
    if (one.address == wanted.address && one.length == wanted.length) return {};
  }
  for (const LinkAddress& one : present) {
    // Several of IPv6 go together, unless their subnets overlap.
    const bool clash =
        !lease.gateway.v6 || Prefix::Of(one.address, one.length).Overlaps(Prefix::Of(wanted.address, wanted.length));
    if (!clash) continue;
    if (!settings.force_address) {
      return FailedPrecondition("\"" + settings.name + "\" already has an IP address different from " +
                                wanted.address.ToString() + "/" + std::to_string(wanted.length));
    }
    RETURN_IF_ERROR(host.RemoveAddress(bridge.index, one));
  }
  Status added = host.AddAddress(bridge.index, wanted);
  if (!added.ok() && added.code() != StatusCode::kAlreadyExists) return added;
  // Without one of its own it has the lowest of its ports' MAC addresses, and changes it as they come and go.
  return host.SetMac(bridge.index, bridge.mac);
}

Status EnableForwarding(bool v6) {
  const char* path = v6 ? "/proc/sys/net/ipv6/conf/all/forwarding" : "/proc/sys/net/ipv4/ip_forward";
  ASSIGN_OR_RETURN(std::string value, sys::ReadFile(path, 64));
  return Trim(value) == "1" ? Status() : sys::WriteValue(path, "1");
}

}  // namespace

std::vector<PodRoute> RoutesOf(const BuiltinChain& chain, const std::vector<Lease>& leases) {
  std::vector<PodRoute> routes;
  for (const LeaseRoute& route : chain.leases.routes) routes.push_back({route.destination, route.gateway});
  if (!chain.bridge.default_gateway) return routes;
  for (bool v6 : {false, true}) {
    const bool has = std::any_of(routes.begin(), routes.end(), [&](const PodRoute& route) {
      return route.destination.length == 0 && route.destination.address.v6 == v6 && route.gateway;
    });
    auto first = std::find_if(leases.begin(), leases.end(), [&](const Lease& lease) { return lease.address.v6 == v6; });
    if (has || first == leases.end()) continue;
    PodRoute route;
    route.destination.address.v6 = v6;
    route.gateway = first->gateway;
    routes.push_back(route);
  }
  return routes;
}

Result<BridgePlace> JoinBridge(const BuiltinChain& chain, const std::vector<Lease>& leases, const std::string& netns,
                               const std::string& interface, Deadline deadline) {
  const BridgeSettings& settings = chain.bridge;
  ASSIGN_OR_RETURN(RouteSocket host, RouteSocket::Open());
  ASSIGN_OR_RETURN(sys::UniqueFd pod, sys::Open(netns, O_RDONLY));
  ASSIGN_OR_RETURN(LinkState bridge, EnsureBridge(host, settings));
  ASSIGN_OR_RETURN(LinkState link, MakeVeth(host, settings, bridge, pod.get(), interface));
  BridgePlace place;
  RETURN_IF_ERROR(sys::RunInNamespace(netns, sys::NamespaceKind::kNet, [&]() -> Status {
    ASSIGN_OR_RETURN(place.mac, ConfigurePod(chain, leases, interface, deadline));
    return {};
  }));
  if (settings.gateway) {
    for (bool v6 : {false, true}) {
      bool any = false;
      for (const Lease& lease : leases) {
        if (lease.address.v6 != v6) continue;
        RETURN_IF_ERROR(EnsureGateway(host, settings, bridge, lease));
        any = true;
      }
      if (any) RETURN_IF_ERROR(EnableForwarding(v6));
    }
    FaultPoint("pod.run.builtin.gateway");
  }
  RETURN_IF_ERROR(Await("the port of bridge " + settings.name + " does not come up", deadline, [&]() -> Result<bool> {
    ASSIGN_OR_RETURN(LinkState now, host.Find(link.name));
    return now.oper_up;
  }));
  // Its first port, or its address, may have changed it.
  ASSIGN_OR_RETURN(bridge, host.Find(settings.name));
  place.bridge_mac = bridge.mac;
  place.host_link = link.name;
  place.host_mac = link.mac;
  return place;
}

}  // namespace davit::network
