#include "network/node_links.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <set>

#include "sys/unique_fd.h"

namespace davit::network {
namespace {

constexpr size_t kMaxMessages =
    200'000;  // the routes of a node that holds a routing table of the world are more: an error

using Attributes = std::map<int, std::string>;

Attributes ReadAttributes(const char* at, size_t left) {
  Attributes attributes;
  while (left >= sizeof(rtattr)) {
    rtattr header{};
    std::memcpy(&header, at, sizeof header);
    if (header.rta_len < sizeof header || header.rta_len > left) break;
    attributes[header.rta_type & NLA_TYPE_MASK].assign(at + sizeof header, header.rta_len - sizeof header);
    const size_t step = std::min<size_t>(RTA_ALIGN(header.rta_len), left);
    at += step;
    left -= step;
  }
  return attributes;
}

Result<sys::UniqueFd> OpenNetlink() {
  sys::UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.valid()) return ErrnoError(errno, "open a netlink socket");
  return fd;
}

// Body is ifinfomsg, ifaddrmsg or rtmsg; `take` gets it and what follows it.
template <class Body>
Status Dump(uint16_t type, const std::function<void(const Body&, const Attributes&)>& take) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, OpenNetlink());
  struct {
    nlmsghdr header{};
    Body body{};
  } request;
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(Body));
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  if (::send(fd.get(), &request, request.header.nlmsg_len, 0) < 0)
    return ErrnoError(errno, "ask the kernel for its links");
  std::vector<char> buffer(64 << 10);
  for (size_t messages = 0; messages < kMaxMessages;) {
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read the kernel's links");
    if (n == 0) return Internal("the kernel ended its list of links");
    size_t left = static_cast<size_t>(n);
    for (const char* at = buffer.data(); left >= sizeof(nlmsghdr); ++messages) {
      nlmsghdr header{};
      std::memcpy(&header, at, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > left) break;
      if (header.nlmsg_type == NLMSG_DONE) return {};
      if (header.nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error{};
        std::memcpy(&error, at + NLMSG_HDRLEN, std::min(sizeof error, header.nlmsg_len - sizeof header));
        return ErrnoError(-error.error, "list the kernel's links");
      }
      if (header.nlmsg_len >= NLMSG_LENGTH(sizeof(Body))) {
        Body body{};
        std::memcpy(&body, at + NLMSG_HDRLEN, sizeof body);
        const size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(Body));
        take(body, header.nlmsg_len > skip ? ReadAttributes(at + skip, header.nlmsg_len - skip) : Attributes());
      }
      const size_t step = std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), left);
      at += step;
      left -= step;
    }
  }
  return ResourceExhausted("the node has more than " + std::to_string(kMaxMessages) + " addresses or routes");
}

void AddPrefix(std::vector<Prefix>& prefixes, int family, const std::string& bytes, int length) {
  Address address;
  address.v6 = family == AF_INET6;
  if ((family != AF_INET && family != AF_INET6) || bytes.size() != address.size()) return;
  std::memcpy(address.bytes.data(), bytes.data(), bytes.size());
  // A default route overlaps everything and says nothing.
  if (length <= 0 || length > address.bits()) return;
  const bool everywhere = address.v6
                              ? address.bytes[0] == 0xff || (address.bytes[0] == 0xfe && address.bytes[1] == 0x80)
                              : address.bytes[0] >= 224;
  if (!everywhere) prefixes.push_back(Prefix::Of(address, length));
}

struct Link {
  int index = 0;
  int master = 0;
  std::string name;
  std::string kind;
};

int Number(const Attributes& attributes, int type) {
  auto it = attributes.find(type);
  int value = 0;
  if (it != attributes.end() && it->second.size() == sizeof value) std::memcpy(&value, it->second.data(), sizeof value);
  return value;
}

std::string Text(const Attributes& attributes, int type) {
  auto it = attributes.find(type);
  return it == attributes.end() ? std::string() : std::string(it->second.c_str());
}

Result<std::vector<Link>> Links() {
  std::vector<Link> links;
  RETURN_IF_ERROR(Dump<ifinfomsg>(RTM_GETLINK, [&](const ifinfomsg& body, const Attributes& attributes) {
    Link link{body.ifi_index, Number(attributes, IFLA_MASTER), Text(attributes, IFLA_IFNAME), ""};
    if (auto info = attributes.find(IFLA_LINKINFO); info != attributes.end()) {
      link.kind = Text(ReadAttributes(info->second.data(), info->second.size()), IFLA_INFO_KIND);
    }
    links.push_back(std::move(link));
  }));
  return links;
}

}  // namespace

Result<std::vector<Prefix>> UsedPrefixes() {
  std::vector<Prefix> prefixes;
  RETURN_IF_ERROR(Dump<ifaddrmsg>(RTM_GETADDR, [&](const ifaddrmsg& body, const Attributes& attributes) {
    auto it = attributes.find(IFA_ADDRESS);
    if (it != attributes.end()) AddPrefix(prefixes, body.ifa_family, it->second, body.ifa_prefixlen);
    // Of a link with a peer IFA_ADDRESS is the other end.
    it = attributes.find(IFA_LOCAL);
    if (it != attributes.end()) AddPrefix(prefixes, body.ifa_family, it->second, body.ifa_prefixlen);
  }));
  RETURN_IF_ERROR(Dump<rtmsg>(RTM_GETROUTE, [&](const rtmsg& body, const Attributes& attributes) {
    auto it = attributes.find(RTA_DST);
    if (it != attributes.end()) AddPrefix(prefixes, body.rtm_family, it->second, body.rtm_dst_len);
  }));
  std::sort(prefixes.begin(), prefixes.end());
  prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
  return prefixes;
}

Result<std::vector<std::string>> LinkNames() {
  ASSIGN_OR_RETURN(std::vector<Link> links, Links());
  std::vector<std::string> names;
  for (Link& link : links) names.push_back(std::move(link.name));
  return names;
}

Result<bool> BridgeHasPorts(const std::string& bridge) {
  ASSIGN_OR_RETURN(std::vector<Link> links, Links());
  auto found = std::find_if(links.begin(), links.end(), [&](const Link& link) { return link.name == bridge; });
  if (found == links.end()) return NotFound("there is no link " + bridge);
  return std::any_of(links.begin(), links.end(), [&](const Link& link) { return link.master == found->index; });
}

Status RemoveBridge(const std::string& bridge) {
  ASSIGN_OR_RETURN(std::vector<Link> links, Links());
  auto found = std::find_if(links.begin(), links.end(), [&](const Link& link) { return link.name == bridge; });
  if (found == links.end()) return {};
  if (found->kind != "bridge") return FailedPrecondition("link " + bridge + " is not a bridge");
  ASSIGN_OR_RETURN(sys::UniqueFd fd, OpenNetlink());
  struct {
    nlmsghdr header{};
    ifinfomsg body{};
  } request;
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.body.ifi_index = found->index;
  if (::send(fd.get(), &request, sizeof request, 0) < 0) return ErrnoError(errno, "delete bridge " + bridge);
  struct {
    nlmsghdr header{};
    nlmsgerr error{};
    char rest[512]{};
  } answer;
  ssize_t n = 0;
  do {
    n = ::recv(fd.get(), &answer, sizeof answer, 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoError(errno, "delete bridge " + bridge);
  const int code = -answer.error.error;
  return code == 0 || code == ENODEV ? Status() : ErrnoError(code, "delete bridge " + bridge);
}

}  // namespace davit::network
