#include "network/stale_flows.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include <array>
#include <string>
#include <vector>

#include "network/rtnetlink.h"

namespace davit::network {
namespace {

template <class Take>
void EachAttribute(const void* payload, size_t length, const Take& take) {
  const auto* attribute = static_cast<const nlattr*>(payload);
  const char* end = static_cast<const char*>(payload) + length;
  for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    take(attribute);
  }
}

nlmsghdr* Begin(char* buffer, uint16_t type, uint16_t flags, bool v6) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type);
  message->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  auto* body = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  body->nfgen_family = v6 ? AF_INET6 : AF_INET;
  return message;
}

// The port that the first packet of a UDP flow was sent to; -1 for other protocols.
int UdpPort(const nlattr* tuple) {
  int protocol = 0;
  int port = -1;
  EachAttribute(mnl_attr_get_payload(tuple), mnl_attr_get_payload_len(tuple), [&](const nlattr* part) {
    if (mnl_attr_get_type(part) != CTA_TUPLE_PROTO) return;
    EachAttribute(mnl_attr_get_payload(part), mnl_attr_get_payload_len(part), [&](const nlattr* field) {
      const int type = mnl_attr_get_type(field);
      if (type == CTA_PROTO_NUM && mnl_attr_get_payload_len(field) == 1) protocol = mnl_attr_get_u8(field);
      if (type == CTA_PROTO_DST_PORT && mnl_attr_get_payload_len(field) == 2) port = ntohs(mnl_attr_get_u16(field));
    });
  });
  return protocol == IPPROTO_UDP ? port : -1;
}

}  // namespace

Status ForgetUdpFlows(const std::set<int>& ports, bool v6) {
  if (ports.empty()) return {};
  ASSIGN_OR_RETURN(NetlinkSocket socket, NetlinkSocket::Open(NETLINK_NETFILTER));
  std::array<char, 4096> buffer{};
  std::vector<std::string> tuples;
  RETURN_IF_ERROR(socket.Ask(
      Begin(buffer.data(), IPCTNL_MSG_CT_GET, NLM_F_DUMP, v6), "list connections", [&](const nlmsghdr* answer) {
        const size_t skip = sizeof(nfgenmsg);
        if (mnl_nlmsg_get_payload_len(answer) < skip) return;
        EachAttribute(mnl_nlmsg_get_payload_offset(answer, skip), mnl_nlmsg_get_payload_len(answer) - skip,
                      [&](const nlattr* attribute) {
                        if (mnl_attr_get_type(attribute) != CTA_TUPLE_ORIG || ports.count(UdpPort(attribute)) == 0)
                          return;
                        tuples.emplace_back(static_cast<const char*>(mnl_attr_get_payload(attribute)),
                                            mnl_attr_get_payload_len(attribute));
                      });
      }));
  for (const std::string& tuple : tuples) {
    nlmsghdr* message = Begin(buffer.data(), IPCTNL_MSG_CT_DELETE, 0, v6);
    mnl_attr_put(message, NLA_F_NESTED | CTA_TUPLE_ORIG, tuple.size(), tuple.data());
    Status forgotten = socket.Request(message, "forget a connection");
    if (!forgotten.ok() && forgotten.code() != StatusCode::kNotFound) return forgotten;
  }
  return {};
}

}  // namespace davit::network
