#include "network/rtnetlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/strings.h"

namespace davit::network {
namespace {

constexpr size_t kMessageBytes = 2048;  // of one request: a veth with all its attributes takes 200
constexpr size_t kAnswerBytes = 8192;
constexpr size_t kReceiveBytes = 64 << 10;

constexpr uint8_t kOperUp = 6;  // IF_OPER_UP of linux/if.h, which does not go together with net/if.h

using Buffer = std::array<char, kMessageBytes>;

template <class Body>
Body* Begin(Buffer& buffer, uint16_t type, uint16_t flags, nlmsghdr** message) {
  *message = mnl_nlmsg_put_header(buffer.data());
  (*message)->nlmsg_type = type;
  (*message)->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  return static_cast<Body*>(mnl_nlmsg_put_extra_header(*message, sizeof(Body)));
}

// Six bytes of "02:42:0a:58:00:05".
std::optional<std::array<uint8_t, 6>> MacBytes(const std::string& text) {
  if (!IsMacAddress(text)) return std::nullopt;
  std::array<uint8_t, 6> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(std::stoul(text.substr(3 * i, 2), nullptr, 16));
  return bytes;
}

std::string MacText(const nlattr* attribute) {
  if (mnl_attr_get_payload_len(attribute) != 6) return "";
  const auto* bytes = static_cast<const uint8_t*>(mnl_attr_get_payload(attribute));
  std::string text;
  for (int i = 0; i < 6; ++i) {
    if (i > 0) text += ':';
    text += HexEncode({reinterpret_cast<const char*>(bytes) + i, 1});
  }
  return text;
}

// Attributes of a message or a nest by their type; what is not known is left out by the caller.
template <class Take>
void EachAttribute(const nlmsghdr* message, size_t offset, const Take& take) {
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, offset));
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    take(attribute);
  }
}

template <class Take>
void EachNested(const nlattr* nest, const Take& take) {
  const auto* attribute = static_cast<const nlattr*>(mnl_attr_get_payload(nest));
  const char* end = reinterpret_cast<const char*>(attribute) + mnl_attr_get_payload_len(nest);
  for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    take(attribute);
  }
}

std::string TextOf(const nlattr* attribute) {
  const auto* text = static_cast<const char*>(mnl_attr_get_payload(attribute));
  return {text, ::strnlen(text, mnl_attr_get_payload_len(attribute))};
}

uint32_t NumberOf(const nlattr* attribute) {
  return mnl_attr_get_payload_len(attribute) == sizeof(uint32_t) ? mnl_attr_get_u32(attribute) : 0;
}

LinkState ReadLink(const nlmsghdr* message) {
  LinkState link;
  const auto* body = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  link.index = body->ifi_index;
  link.flags = body->ifi_flags;
  EachAttribute(message, sizeof *body, [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case IFLA_IFNAME:
        link.name = TextOf(attribute);
        break;
      case IFLA_MASTER:
        link.master = static_cast<int>(NumberOf(attribute));
        break;
      case IFLA_MTU:
        link.mtu = static_cast<int>(NumberOf(attribute));
        break;
      case IFLA_ADDRESS:
        link.mac = MacText(attribute);
        break;
      case IFLA_OPERSTATE:
        link.oper_up = mnl_attr_get_payload_len(attribute) == 1 && mnl_attr_get_u8(attribute) == kOperUp;
        break;
      case IFLA_LINKINFO: {
        EachNested(attribute, [&](const nlattr* nested) {
          if (mnl_attr_get_type(nested) == IFLA_INFO_KIND) link.kind = TextOf(nested);
        });
        break;
      }
      default:
        break;
    }
  });
  return link;
}

void PutAddress(nlmsghdr* message, uint16_t type, const Address& address) {
  mnl_attr_put(message, type, address.size(), address.bytes.data());
}

std::optional<Address> ReadAddress(const nlattr* attribute, bool v6) {
  Address address;
  address.v6 = v6;
  if (mnl_attr_get_payload_len(attribute) != address.size()) return std::nullopt;
  std::memcpy(address.bytes.data(), mnl_attr_get_payload(attribute), address.size());
  return address;
}

// A link or an address that is not there is as absent as anything else.
Status KernelError(int error, const std::string& intent) {
  Status status = ErrnoError(error, intent);
  return error == ENODEV || error == EADDRNOTAVAIL ? NotFound(status.message()) : status;
}

unsigned char Family(const Address& address) { return address.v6 ? AF_INET6 : AF_INET; }

// The broadcast address goes with an IPv4 address, as `ip address add ... brd +` sets it.
nlmsghdr* AddressMessage(Buffer& buffer, uint16_t type, uint16_t flags, int index, const LinkAddress& address) {
  nlmsghdr* message = nullptr;
  auto* body = Begin<ifaddrmsg>(buffer, type, flags, &message);
  body->ifa_family = Family(address.address);
  body->ifa_prefixlen = static_cast<unsigned char>(address.length);
  body->ifa_index = static_cast<unsigned>(index);
  PutAddress(message, IFA_LOCAL, address.address);
  PutAddress(message, IFA_ADDRESS, address.address);
  if (!address.address.v6 && address.length < 31) {
    PutAddress(message, IFA_BROADCAST, Prefix::Of(address.address, address.length).Last());
  }
  return message;
}

}  // namespace

Result<NetlinkSocket> NetlinkSocket::Open(int protocol) {
  sys::UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd.valid()) return ErrnoError(errno, "open a netlink socket");
  int on = 1;
  // An error then carries no copy of the request.
  ::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return NetlinkSocket(std::move(fd));
}

Status NetlinkSocket::Request(nlmsghdr* message, const std::string& intent) {
  message->nlmsg_flags |= NLM_F_ACK;
  message->nlmsg_seq = NextSequence();
  return Transact({reinterpret_cast<const char*>(message), message->nlmsg_len}, sequence_, sequence_, intent);
}

Status NetlinkSocket::Transact(const std::string& messages, uint32_t first, uint32_t last, const std::string& intent) {
  if (messages.size() > 128 << 10) {
    const int bytes = static_cast<int>(messages.size()) * 2;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(fd_.get(), messages.data(), messages.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel) <
      0) {
    return ErrnoError(errno, intent);
  }
  // The kernel works through a request within the send: its answers are there already.
  std::unique_ptr<char[]> buffer(new char[kAnswerBytes]);  // not zeroed
  Status failed;
  for (bool done = false; !done;) {
    ssize_t n = ::recv(fd_.get(), buffer.get(), kAnswerBytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, intent);
    auto left = static_cast<int>(n);
    for (const auto* answer = reinterpret_cast<nlmsghdr*>(buffer.get()); mnl_nlmsg_ok(answer, left);
         answer = mnl_nlmsg_next(answer, &left)) {
      if (answer->nlmsg_type != NLMSG_ERROR || answer->nlmsg_seq < first || answer->nlmsg_seq > last) continue;
      const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(answer));
      if (error->error != 0 && failed.ok()) failed = KernelError(-error->error, intent);
      // A transaction that failed is not always acknowledged to its end.
      done = done || answer->nlmsg_seq == last || error->error != 0;
    }
  }
  return failed;
}

Status NetlinkSocket::Ask(nlmsghdr* message, const std::string& intent,
                          const std::function<void(const nlmsghdr*)>& take) {
  const bool dump = (message->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  message->nlmsg_seq = NextSequence();
  if (::send(fd_.get(), message, message->nlmsg_len, 0) < 0) return ErrnoError(errno, intent);
  const size_t bytes = dump ? kReceiveBytes : kAnswerBytes;
  std::unique_ptr<char[]> buffer(new char[bytes]);
  for (;;) {
    ssize_t n = ::recv(fd_.get(), buffer.get(), bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, intent);
    auto left = static_cast<int>(n);
    for (const auto* answer = reinterpret_cast<nlmsghdr*>(buffer.get()); mnl_nlmsg_ok(answer, left);
         answer = mnl_nlmsg_next(answer, &left)) {
      if (answer->nlmsg_seq != message->nlmsg_seq) continue;
      if (answer->nlmsg_type == NLMSG_DONE) return {};
      if (answer->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(answer));
        return error->error == 0 ? Status() : KernelError(-error->error, intent);
      }
      take(answer);
      if (!dump) return {};
    }
  }
}

Result<RouteSocket> RouteSocket::Open() {
  ASSIGN_OR_RETURN(NetlinkSocket socket, NetlinkSocket::Open(NETLINK_ROUTE));
  return RouteSocket(std::move(socket));
}

Result<LinkState> RouteSocket::FindBy(const std::string& name, int index) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  auto* body = Begin<ifinfomsg>(buffer, RTM_GETLINK, 0, &message);
  body->ifi_index = index;
  if (!name.empty()) mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
  // Statistics are most of the answer and wanted by nobody.
  mnl_attr_put_u32(message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  LinkState link;
  RETURN_IF_ERROR(socket_.Ask(message, "look up link " + (name.empty() ? std::to_string(index) : name),
                              [&](const nlmsghdr* answer) { link = ReadLink(answer); }));
  return link;
}

Result<LinkState> RouteSocket::Find(const std::string& name) {
  auto found = FindBy(name, 0);
  if (!found.ok() && found.status().code() == StatusCode::kNotFound) return NotFound("there is no link " + name);
  return found;
}

Status RouteSocket::AddBridge(const std::string& name, int mtu) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  Begin<ifinfomsg>(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message);
  mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
  if (mtu > 0) mnl_attr_put_u32(message, IFLA_MTU, static_cast<uint32_t>(mtu));
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_strz(message, IFLA_INFO_KIND, "bridge");
  mnl_attr_nest_end(message, info);
  return socket_.Request(message, "make bridge " + name);
}

Status RouteSocket::AddVeth(const VethRequest& request) {
  const std::string intent = "make veth " + request.name + " and " + request.peer;
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  Begin<ifinfomsg>(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message);
  const auto common = [&](const std::string& name) {
    mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
    if (request.mtu > 0) mnl_attr_put_u32(message, IFLA_MTU, static_cast<uint32_t>(request.mtu));
    // As the bridge plugin leaves it; a veth has no queue anyway.
    mnl_attr_put_u32(message, IFLA_TXQLEN, 0);
  };
  common(request.name);
  if (request.master > 0) mnl_attr_put_u32(message, IFLA_MASTER, static_cast<uint32_t>(request.master));
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_strz(message, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
  nlattr* peer = mnl_attr_nest_start(message, VETH_INFO_PEER);
  mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
  common(request.peer);
  if (!request.peer_mac.empty()) {
    const auto mac = MacBytes(request.peer_mac);
    if (!mac) return InvalidArgument(intent + ": \"" + Printable(request.peer_mac) + "\" is no MAC address");
    mnl_attr_put(message, IFLA_ADDRESS, mac->size(), mac->data());
  }
  mnl_attr_put_u32(message, IFLA_NET_NS_FD, static_cast<uint32_t>(request.peer_netns));
  mnl_attr_nest_end(message, peer);
  mnl_attr_nest_end(message, data);
  mnl_attr_nest_end(message, info);
  return socket_.Request(message, intent);
}

Status RouteSocket::Delete(const std::string& name) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  Begin<ifinfomsg>(buffer, RTM_DELLINK, 0, &message);
  mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
  return socket_.Request(message, "delete link " + name);
}

Status RouteSocket::ChangeFlags(int index, unsigned flags, const std::string& intent) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  auto* body = Begin<ifinfomsg>(buffer, RTM_NEWLINK, 0, &message);
  body->ifi_index = index;
  body->ifi_flags = flags;
  body->ifi_change = flags;
  return socket_.Request(message, intent);
}

Status RouteSocket::SetUp(int index) { return ChangeFlags(index, IFF_UP, "set link " + std::to_string(index) + " up"); }

Status RouteSocket::SetPromiscuous(int index) {
  return ChangeFlags(index, IFF_PROMISC, "set link " + std::to_string(index) + " promiscuous");
}

Status RouteSocket::SetMac(int index, const std::string& text) {
  const std::string intent = "set the MAC address of link " + std::to_string(index);
  const auto mac = MacBytes(text);
  if (!mac) return InvalidArgument(intent + ": \"" + Printable(text) + "\" is none");
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  Begin<ifinfomsg>(buffer, RTM_NEWLINK, 0, &message)->ifi_index = index;
  mnl_attr_put(message, IFLA_ADDRESS, mac->size(), mac->data());
  return socket_.Request(message, intent);
}

Status RouteSocket::SetHairpin(int index, bool on) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  auto* body = Begin<ifinfomsg>(buffer, RTM_SETLINK, 0, &message);
  body->ifi_family = AF_BRIDGE;
  body->ifi_index = index;
  nlattr* port = mnl_attr_nest_start(message, IFLA_PROTINFO);
  mnl_attr_put_u8(message, IFLA_BRPORT_MODE, on ? 1 : 0);
  mnl_attr_nest_end(message, port);
  return socket_.Request(message, "set hairpin mode of link " + std::to_string(index));
}

Result<std::vector<LinkAddress>> RouteSocket::Addresses(int index, bool v6) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  auto* body = Begin<ifaddrmsg>(buffer, RTM_GETADDR, NLM_F_DUMP, &message);
  body->ifa_family = v6 ? AF_INET6 : AF_INET;
  std::vector<LinkAddress> found;
  RETURN_IF_ERROR(socket_.Ask(message, "list addresses", [&](const nlmsghdr* answer) {
    const auto* address = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(answer));
    if (address->ifa_index != static_cast<unsigned>(index)) return;
    LinkAddress entry;
    entry.length = address->ifa_prefixlen;
    unsigned flags = address->ifa_flags;
    std::optional<Address> local;
    std::optional<Address> other;
    EachAttribute(answer, sizeof *address, [&](const nlattr* attribute) {
      const int type = mnl_attr_get_type(attribute);
      if (type == IFA_LOCAL) local = ReadAddress(attribute, v6);
      if (type == IFA_ADDRESS) other = ReadAddress(attribute, v6);
      if (type == IFA_FLAGS) flags = NumberOf(attribute);
    });
    if (!local && !other) return;
    entry.address = local ? *local : *other;
    entry.tentative = (flags & IFA_F_TENTATIVE) != 0;
    found.push_back(entry);
  }));
  return found;
}

Status RouteSocket::AddAddress(int index, const LinkAddress& address) {
  Buffer buffer{};
  return socket_.Request(AddressMessage(buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address),
                         "add address " + address.address.ToString() + " to link " + std::to_string(index));
}

Status RouteSocket::RemoveAddress(int index, const LinkAddress& address) {
  Buffer buffer{};
  return socket_.Request(AddressMessage(buffer, RTM_DELADDR, 0, index, address),
                         "remove address " + address.address.ToString() + " from link " + std::to_string(index));
}

Status RouteSocket::AddRoute(int index, const Prefix& destination, const std::optional<Address>& gateway) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  auto* body = Begin<rtmsg>(buffer, RTM_NEWROUTE, NLM_F_CREATE, &message);
  body->rtm_family = Family(destination.address);
  body->rtm_dst_len = static_cast<unsigned char>(destination.length);
  body->rtm_table = RT_TABLE_MAIN;
  body->rtm_protocol = RTPROT_BOOT;
  body->rtm_scope = RT_SCOPE_UNIVERSE;
  body->rtm_type = RTN_UNICAST;
  PutAddress(message, RTA_DST, destination.address);
  if (gateway) PutAddress(message, RTA_GATEWAY, *gateway);
  mnl_attr_put_u32(message, RTA_OIF, static_cast<uint32_t>(index));
  return socket_.Request(
      message, "add route " + destination.ToString() + (gateway ? " via " + gateway->ToString() : std::string()));
}

Result<std::string> RouteSocket::LinkTo(const Address& destination) {
  Buffer buffer{};
  nlmsghdr* message = nullptr;
  auto* body = Begin<rtmsg>(buffer, RTM_GETROUTE, 0, &message);
  body->rtm_family = Family(destination);
  body->rtm_dst_len = static_cast<unsigned char>(destination.bits());
  PutAddress(message, RTA_DST, destination);
  int index = 0;
  Status asked = socket_.Ask(message, "look up the route to " + destination.ToString(), [&](const nlmsghdr* answer) {
    EachAttribute(answer, sizeof(rtmsg), [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == RTA_OIF) index = static_cast<int>(NumberOf(attribute));
    });
  });
  if (!asked.ok() || index == 0) return std::string();
  ASSIGN_OR_RETURN(LinkState link, FindBy("", index));
  return link.name;
}

}  // namespace davit::network
