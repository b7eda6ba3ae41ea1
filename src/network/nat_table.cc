#include "network/nat_table.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "network/nft_batch.h"

namespace davit::network {
namespace {

constexpr char kTable[] = "davit";
constexpr uint32_t kMark = 0x2000;  // the portmap plugin's: its markMasqBit is 13
constexpr int kDnatPriority = -99;  // NF_IP_PRI_NAT_DST + 1
constexpr int kSnatPriority = 101;  // NF_IP_PRI_NAT_SRC + 1

// Types as nftables' own program numbers them (its datatype.h), six bits each in a concatenation.
constexpr uint32_t kIp4 = 7;
constexpr uint32_t kIp6 = 8;
constexpr uint32_t kProtocol = 12;
constexpr uint32_t kPort = 13;
constexpr uint32_t kNumber = 19;  // "mark": any number of 32 bits
constexpr uint32_t Types(uint32_t a, uint32_t b) { return a << 6 | b; }
constexpr uint32_t Types(uint32_t a, uint32_t b, uint32_t c) { return Types(a, b) << 6 | c; }

// Parts of a concatenation are padded to four bytes.
std::string Word(uint32_t number) { return {reinterpret_cast<const char*>(&number), sizeof number}; }
std::string PortBytes(int port) {
  const char bytes[4] = {static_cast<char>(port >> 8), static_cast<char>(port), 0, 0};
  return {bytes, sizeof bytes};
}
std::string ProtocolBytes(Protocol protocol) {
  const char number = static_cast<char>(protocol == Protocol::kTcp   ? IPPROTO_TCP
                                        : protocol == Protocol::kUdp ? IPPROTO_UDP
                                                                     : IPPROTO_SCTP);
  return {number, 0, 0, 0};
}
std::string Bytes(const Address& address) {
  return {reinterpret_cast<const char*>(address.bytes.data()), address.size()};
}
std::string Bytes(const Prefix& prefix) { return Bytes(prefix.address) + Word(static_cast<uint32_t>(prefix.length)); }

Prefix PrefixOf(const std::string& bytes) {
  Prefix prefix;
  prefix.address.v6 = bytes.size() > 8;
  std::memcpy(prefix.address.bytes.data(), bytes.data(), prefix.address.size());
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + prefix.address.size(), sizeof length);
  prefix.length = static_cast<int>(length);
  return prefix;
}

std::string Mask(bool v6, int length) {
  std::string mask(v6 ? 16 : 4, '\0');
  for (int bit = 0; bit < length; ++bit) {
    mask[static_cast<size_t>(bit / 8)] = static_cast<char>(mask[static_cast<size_t>(bit / 8)] | (0x80 >> (bit % 8)));
  }
  return mask;
}

std::string Zeroes(bool v6) { return std::string(v6 ? 16 : 4, '\0'); }
std::string Family(const std::string& name, bool v6) { return name + (v6 ? "6" : "4"); }
std::string ChainName(const char* kind, const Prefix& prefix) {
  return std::string(kind) + "-" + prefix.address.ToString() + "_" + std::to_string(prefix.length);
}

constexpr uint32_t kR0 = NFT_REG32_00;

uint32_t SourceAt(bool v6) { return v6 ? 8 : 12; }
uint32_t DestinationAt(bool v6) { return v6 ? 24 : 16; }
uint32_t Width(bool v6) { return v6 ? 16 : 4; }
uint32_t Registers(bool v6) { return v6 ? 4 : 1; }

// The header of one family is read only where the packet is of it.
NftRule& OfFamily(NftRule& rule, bool v6) {
  return rule.Meta(NFT_META_NFPROTO, kR0)
      .Equals(kR0, std::string(1, static_cast<char>(v6 ? NFPROTO_IPV6 : NFPROTO_IPV4)));
}

NftRule& Within(NftRule& rule, const Prefix& prefix, uint32_t at) {
  const bool v6 = prefix.address.v6;
  OfFamily(rule, v6).NetworkHeader(at, Width(v6), kR0);
  if (prefix.length < prefix.address.bits()) rule.Bits(kR0, Mask(v6, prefix.length), Zeroes(v6));
  return rule.Equals(kR0, Bytes(prefix.address));
}

NftRule& SetMark(NftRule& rule) {
  return rule.Meta(NFT_META_MARK, kR0).Bits(kR0, Word(~kMark), Word(kMark)).SetMeta(NFT_META_MARK, kR0);
}

// Who goes to which port of which address: the key of the maps of host ports, from kR0 on.
NftRule& LoadPort(NftRule& rule, bool v6, bool with_address) {
  uint32_t at = kR0;
  if (with_address) {
    OfFamily(rule, v6).NetworkHeader(DestinationAt(v6), Width(v6), at);
    at += Registers(v6);
  }
  return rule.Meta(NFT_META_L4PROTO, at).TransportHeader(2, 2, at + 1);
}

void WritePorts(NftBatch& batch, bool v6) {
  const std::string chain = Family("ports", v6);
  batch.AddChain(chain);
  batch.FlushChain(chain);
  const int family = v6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
  for (bool with_address : {true, false}) {
    const std::string prefix = with_address ? "addr_" : "any_";
    NftRule mark(kTable, chain);
    LoadPort(mark, v6, with_address).Lookup(Family(prefix + "snat", v6), kR0, kR0);
    batch.AddRule(mark.LookupVerdict(Family("hairpins", v6), kR0));
    NftRule forward(kTable, chain);
    LoadPort(forward, v6, with_address).Lookup(Family(prefix + "ports", v6), kR0, kR0);
    batch.AddRule(forward.Dnat(family, kR0, kR0 + Registers(v6)));
  }
}

void WriteMaps(NftBatch& batch, bool v6) {
  const uint32_t ip = v6 ? kIp6 : kIp4;
  const uint32_t width = Width(v6);
  const uint32_t subnet = Types(ip, kNumber);
  batch.AddMap(Family("masquerade", v6), ip, width, subnet, width + 4);
  batch.AddMap(Family("subnets", v6), subnet, width + 4, 0, 0);
  batch.AddMap(Family("hairpins", v6), subnet, width + 4, 0, 0);
  batch.AddMap(Family("any_ports", v6), Types(kProtocol, kPort), 8, Types(ip, kPort), width + 4);
  batch.AddMap(Family("any_snat", v6), Types(kProtocol, kPort), 8, subnet, width + 4);
  batch.AddMap(Family("addr_ports", v6), Types(ip, kProtocol, kPort), width + 8, Types(ip, kPort), width + 4);
  batch.AddMap(Family("addr_snat", v6), Types(ip, kProtocol, kPort), width + 8, subnet, width + 4);
}

// The table with all that is the same for every pod. May be written over what is there.
void WriteTable(NftBatch& batch) {
  batch.AddTable();
  for (bool v6 : {false, true}) WriteMaps(batch, v6);
  for (bool v6 : {false, true}) WritePorts(batch, v6);
  for (const auto& [chain, hook] :
       {std::pair("prerouting", NF_INET_PRE_ROUTING), std::pair("output", NF_INET_LOCAL_OUT)}) {
    batch.AddNatChain(chain, hook, kDnatPriority);
    batch.FlushChain(chain);
    for (bool v6 : {false, true}) {
      NftRule local(kTable, chain);
      OfFamily(local, v6).DestinationType(kR0).Equals(kR0, Word(RTN_LOCAL));
      batch.AddRule(local.Jump(Family("ports", v6)));
    }
  }
  batch.AddNatChain("postrouting", NF_INET_POST_ROUTING, kSnatPriority);
  batch.FlushChain("postrouting");
  NftRule marked(kTable, "postrouting");
  marked.Meta(NFT_META_MARK, kR0).Bits(kR0, Word(kMark), Word(0)).Equals(kR0, Word(kMark)).Masquerade();
  batch.AddRule(marked);
  for (bool v6 : {false, true}) {
    NftRule leaves(kTable, "postrouting");
    OfFamily(leaves, v6).NetworkHeader(SourceAt(v6), Width(v6), kR0);
    leaves.Lookup(Family("masquerade", v6), kR0, kR0).LookupVerdict(Family("subnets", v6), kR0);
    batch.AddRule(leaves);
  }
}

// What masquerade means for the pods of one subnet.
void WriteSubnet(NftBatch& batch, const Prefix& subnet) {
  const bool v6 = subnet.address.v6;
  const std::string chain = ChainName("masq", subnet);
  batch.AddChain(chain);
  batch.FlushChain(chain);
  NftRule inside(kTable, chain);
  batch.AddRule(Within(inside, subnet, DestinationAt(v6)).Accept());
  // 224.0.0.0/4 and ff00::/8
  NftRule outside(kTable, chain);
  OfFamily(outside, v6).NetworkHeader(DestinationAt(v6), Width(v6), kR0).Bits(kR0, Mask(v6, v6 ? 8 : 4), Zeroes(v6));
  std::string multicast = Zeroes(v6);
  multicast[0] = static_cast<char>(v6 ? 0xff : 0xe0);
  batch.AddRule(outside.Differs(kR0, multicast).Masquerade());
  batch.AddElements(Family("subnets", v6), {{Bytes(subnet), "", chain}});
}

// Whose packets to a host port get the node's address.
void WriteHairpin(NftBatch& batch, const Prefix& subnet) {
  const bool v6 = subnet.address.v6;
  const std::string chain = ChainName("hairpin", subnet);
  batch.AddChain(chain);
  batch.FlushChain(chain);
  NftRule own(kTable, chain);
  if (subnet.length > 0) Within(own, subnet, SourceAt(v6));
  batch.AddRule(SetMark(own));
  if (!v6 && subnet.length > 0) {
    NftRule loopback(kTable, chain);
    Within(loopback, {*Address::Parse("127.0.0.1"), 32}, SourceAt(false));
    batch.AddRule(SetMark(loopback));
  }
  batch.AddElements(Family("hairpins", v6), {{Bytes(subnet), "", chain}});
}

// The map of rules that an element's data is looked up in; empty for those whose data are used as they are.
std::string RulesOf(const std::string& map) {
  const std::string family = map.substr(map.size() - 1);
  if (map.rfind("masquerade", 0) == 0) return "subnets" + family;
  if (map.find("_snat") != std::string::npos) return "hairpins" + family;
  return "";
}

std::string PortText(const Forward& forward) {
  std::string text = "host port ";
  if (forward.host_ip) text += forward.host_ip->ToString() + ":";
  return text + std::to_string(forward.host_port) + "/" + std::string(ProtocolName(forward.protocol));
}

}  // namespace

std::set<std::pair<std::string, std::string>> NatTable::RulesFor(const std::vector<Element>& elements) {
  std::set<std::pair<std::string, std::string>> rules;
  for (const Element& element : elements) {
    std::string map = RulesOf(element.map);
    if (!map.empty()) rules.emplace(std::move(map), element.data);
  }
  return rules;
}

std::vector<NatTable::Element> NatTable::ElementsOf(const NatEntries& entries) {
  std::vector<Element> elements;
  for (const Masquerade& entry : entries.masquerades) {
    elements.push_back({Family("masquerade", entry.pod.v6), Bytes(entry.pod), Bytes(entry.subnet),
                        "masquerade of " + entry.pod.ToString()});
  }
  for (const Forward& forward : entries.forwards) {
    const bool v6 = forward.pod.v6;
    const std::string prefix = forward.host_ip ? "addr_" : "any_";
    const std::string key = (forward.host_ip ? Bytes(*forward.host_ip) : std::string()) +
                            ProtocolBytes(forward.protocol) + PortBytes(forward.host_port);
    elements.push_back(
        {Family(prefix + "ports", v6), key, Bytes(forward.pod) + PortBytes(forward.pod_port), PortText(forward)});
    if (forward.snat) elements.push_back({Family(prefix + "snat", v6), key, Bytes(*forward.snat), PortText(forward)});
  }
  return elements;
}

Result<NatTable> NatTable::Open() {
  ASSIGN_OR_RETURN(NetlinkSocket socket, NetlinkSocket::Open(NETLINK_NETFILTER));
  return NatTable(std::move(socket));
}

Result<std::optional<std::string>> NatTable::Get(const std::string& map, const std::string& key) {
  std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)> set(nftnl_set_alloc(), &nftnl_set_free);
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, kTable);
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, map.c_str());
  nftnl_set_elem* elem = nftnl_set_elem_alloc();
  nftnl_set_elem_set(elem, NFTNL_SET_ELEM_KEY, key.data(), static_cast<uint32_t>(key.size()));
  nftnl_set_elem_add(set.get(), elem);
  char buffer[1024];
  nlmsghdr* message = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, NFPROTO_INET, 0, 0);
  nftnl_set_elems_nlmsg_build_payload(message, set.get());
  std::optional<std::string> found;
  Status asked = socket_.Ask(message, "look up an element of " + map, [&](const nlmsghdr* answer) {
    std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)> held(nftnl_set_alloc(), &nftnl_set_free);
    if (nftnl_set_elems_nlmsg_parse(answer, held.get()) < 0) return;
    std::unique_ptr<nftnl_set_elems_iter, decltype(&nftnl_set_elems_iter_destroy)> each(
        nftnl_set_elems_iter_create(held.get()), &nftnl_set_elems_iter_destroy);
    if (nftnl_set_elem* first = nftnl_set_elems_iter_next(each.get()); first != nullptr) {
      uint32_t length = 0;
      const void* data = nftnl_set_elem_get(first, NFTNL_SET_ELEM_DATA, &length);
      // A verdict has no bytes to compare: it is there, and that is all that is asked of it.
      found = data == nullptr ? std::string() : std::string(static_cast<const char*>(data), length);
    }
  });
  if (!asked.ok() && asked.code() != StatusCode::kNotFound) return asked;
  return found;
}

Status NatTable::WriteRules(const std::vector<Element>& elements) {
  NftBatch batch(socket_, kTable);
  WriteTable(batch);
  for (const auto& [rules, subnet] : RulesFor(elements)) {
    if (rules.rfind("subnets", 0) == 0) {
      WriteSubnet(batch, PrefixOf(subnet));
    } else {
      WriteHairpin(batch, PrefixOf(subnet));
    }
  }
  return batch.Commit("write the nftables table inet davit");
}

Status NatTable::Change(const std::vector<Element>& gone, const std::vector<Element>& fresh) {
  NftBatch batch(socket_, kTable);
  std::map<std::string, std::vector<NftElement>> by_map;
  for (const Element& element : gone) by_map[element.map].push_back({element.key, "", ""});
  for (const auto& [map, elements] : by_map) batch.RemoveElements(map, elements);
  by_map.clear();
  for (const Element& element : fresh) by_map[element.map].push_back({element.key, element.data, ""});
  for (const auto& [map, elements] : by_map) batch.AddElements(map, elements);
  // Said again with every change: where they are not there the transaction fails, and they are written.
  for (const auto& [rules, subnet] : RulesFor(fresh)) {
    const char* kind = rules.rfind("subnets", 0) == 0 ? "masq" : "hairpin";
    batch.AddElements(rules, {{subnet, "", ChainName(kind, PrefixOf(subnet))}});
  }
  return batch.Commit("change the nftables table inet davit");
}

Status NatTable::Add(const NatEntries& entries) {
  const std::vector<Element> elements = ElementsOf(entries);
  if (elements.empty()) return {};
  std::vector<Element> stale;
  for (const Element& element : elements) {
    ASSIGN_OR_RETURN(std::optional<std::string> held, Get(element.map, element.key));
    if (!held || *held == element.data) continue;
    const bool port = element.map.find("_ports") != std::string::npos;
    const size_t address = element.data.size() - 4;
    if (port && held->compare(0, address, element.data, 0, address) != 0) {
      Prefix holder = PrefixOf(*held);
      return FailedPrecondition(element.what + " leads to " + holder.address.ToString() + " already");
    }
    stale.push_back(element);
  }
  Status changed = Change(stale, elements);
  if (changed.code() != StatusCode::kNotFound) return changed;
  RETURN_IF_ERROR(WriteRules(elements));
  return Change({}, elements);
}

Status NatTable::Remove(const NatEntries& entries) {
  std::vector<Element> ours;
  bool of_another = false;
  for (Element& element : ElementsOf(entries)) {
    ASSIGN_OR_RETURN(std::optional<std::string> held, Get(element.map, element.key));
    // Whose a port is says where it leads. Of its other element the subnet alone is known, which pods share.
    const bool shared = element.map.find("_snat") != std::string::npos;
    if (!shared) of_another = held && *held != element.data;
    if (!of_another && held && *held == element.data) ours.push_back(std::move(element));
  }
  if (ours.empty()) return {};
  Status changed = Change(ours, {});
  // Somebody has emptied the table meanwhile.
  return changed.code() == StatusCode::kNotFound ? Status() : changed;
}

Status NatTables::With(const std::function<Status(NatTable&)>& work) {
  std::optional<NatTable> table;
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      table = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!table) {
    ASSIGN_OR_RETURN(table, NatTable::Open());
  }
  RETURN_IF_ERROR(work(*table));  // a socket with an error behind it is not used again
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(*table));
  return {};
}

}  // namespace davit::network
