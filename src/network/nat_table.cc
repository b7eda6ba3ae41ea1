#include "network/nat_table.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <algorithm>
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
std::string Mask(bool v6, int length) {
  std::string mask(v6 ? 16 : 4, '\0');
  for (int bit = 0; bit < length; ++bit) {
    mask[static_cast<size_t>(bit / 8)] = static_cast<char>(mask[static_cast<size_t>(bit / 8)] | (0x80 >> (bit % 8)));
  }
  return mask;
}

std::string Zeroes(bool v6) { return std::string(v6 ? 16 : 4, '\0'); }
std::string Family(const std::string& name, bool v6) { return name + (v6 ? "6" : "4"); }
// "masq_10.88.0.0_16": a name that nftables' own program can read again.
std::string NameOf(const char* kind, const Prefix& prefix) {
  std::string name = std::string(kind) + "_" + prefix.address.ToString() + "_" + std::to_string(prefix.length);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
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
  // The sources' chain is added to by each subnet, and never emptied.
  const std::string sources = Family("port_sources", v6);
  batch.AddChain(sources);
  batch.AddChain(chain);
  batch.FlushChain(chain);
  NftRule mark(kTable, chain);
  batch.AddRule(mark.Jump(sources));
  for (bool with_address : {true, false}) {
    NftRule forward(kTable, chain);
    LoadPort(forward, v6, with_address).Lookup(Family(with_address ? "addr_ports" : "any_ports", v6), kR0, kR0);
    batch.AddRule(forward.Dnat(v6 ? NFPROTO_IPV6 : NFPROTO_IPV4, kR0, kR0 + Registers(v6)));
  }
}

uint32_t AnyKey() { return Types(kProtocol, kPort); }
uint32_t AddressKey(bool v6) { return Types(v6 ? kIp6 : kIp4, kProtocol, kPort); }

void WriteMaps(NftBatch& batch, bool v6) {
  const uint32_t target = Types(v6 ? kIp6 : kIp4, kPort);
  const uint32_t width = Width(v6);
  batch.AddMap(Family("any_ports", v6), AnyKey(), 8, target, width + 4);
  batch.AddMap(Family("addr_ports", v6), AddressKey(v6), width + 8, target, width + 4);
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
    const std::string sources = Family("masq_sources", v6);
    batch.AddChain(sources);
    NftRule leaves(kTable, "postrouting");
    batch.AddRule(OfFamily(leaves, v6).Jump(sources));
  }
}

// Those of a set of pods that leave for anywhere but their own subnet.
void WriteMasquerade(NftBatch& batch, const Prefix& subnet) {
  const bool v6 = subnet.address.v6;
  const std::string name = NameOf("masq", subnet);
  batch.AddSet(name, v6 ? kIp6 : kIp4, Width(v6));
  batch.AddChain(name);
  batch.FlushChain(name);
  // 224.0.0.0/4 and ff00::/8
  std::string multicast = Zeroes(v6);
  multicast[0] = static_cast<char>(v6 ? 0xff : 0xe0);
  NftRule inside(kTable, name);
  batch.AddRule(Within(inside, subnet, DestinationAt(v6)).Return());
  NftRule outside(kTable, name);
  OfFamily(outside, v6).NetworkHeader(DestinationAt(v6), Width(v6), kR0).Bits(kR0, Mask(v6, v6 ? 8 : 4), Zeroes(v6));
  outside.Differs(kR0, multicast).NetworkHeader(SourceAt(v6), Width(v6), kR0).Contains(name, kR0);
  batch.AddRule(outside.Masquerade());
  NftRule source(kTable, Family("masq_sources", v6));
  batch.AddRule(Within(source, subnet, SourceAt(v6)).Jump(name));
}

// Who comes from the pod's own subnet, or from 127.0.0.1, to these ports gets the node's address.
void WriteHairpin(NftBatch& batch, const Prefix& subnet) {
  const bool v6 = subnet.address.v6;
  const std::string name = NameOf("snat", subnet);
  batch.AddSet(NameOf("snat_any", subnet), AnyKey(), 8);
  batch.AddSet(NameOf("snat_addr", subnet), AddressKey(v6), Width(v6) + 8);
  batch.AddChain(name);
  batch.FlushChain(name);
  for (bool with_address : {true, false}) {
    NftRule marked(kTable, name);
    LoadPort(marked, v6, with_address).Contains(NameOf(with_address ? "snat_addr" : "snat_any", subnet), kR0);
    batch.AddRule(SetMark(marked));
  }
  const std::string sources = Family("port_sources", v6);
  NftRule own(kTable, sources);
  batch.AddRule(Within(own, subnet, SourceAt(v6)).Jump(name));
  if (v6) return;
  NftRule loopback(kTable, sources);
  batch.AddRule(Within(loopback, {*Address::Parse("127.0.0.1"), 32}, SourceAt(false)).Jump(name));
}

std::string AddressText(const std::string& bytes) {
  Address address;
  address.v6 = bytes.size() > 4;
  std::memcpy(address.bytes.data(), bytes.data(), std::min(bytes.size(), address.bytes.size()));
  return address.ToString();
}

std::string PortText(const Forward& forward) {
  std::string text = "host port ";
  if (forward.host_ip) text += forward.host_ip->ToString() + ":";
  return text + std::to_string(forward.host_port) + "/" + std::string(ProtocolName(forward.protocol));
}

}  // namespace

std::vector<NatTable::Element> NatTable::ElementsOf(const NatEntries& entries) {
  std::vector<Element> elements;
  for (const Masquerade& entry : entries.masquerades) {
    elements.push_back({NameOf("masq", entry.subnet), Bytes(entry.pod), "", "masquerade of " + entry.pod.ToString()});
  }
  for (const Forward& forward : entries.forwards) {
    const bool v6 = forward.pod.v6;
    const std::string key = (forward.host_ip ? Bytes(*forward.host_ip) : std::string()) +
                            ProtocolBytes(forward.protocol) + PortBytes(forward.host_port);
    elements.push_back({Family(forward.host_ip ? "addr_ports" : "any_ports", v6), key,
                        Bytes(forward.pod) + PortBytes(forward.pod_port), PortText(forward)});
    if (!forward.snat) continue;
    elements.push_back({NameOf(forward.host_ip ? "snat_addr" : "snat_any", *forward.snat), key, "", PortText(forward)});
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
      // Of a set: that it is there is all that is asked of it.
      found = data == nullptr ? std::string() : std::string(static_cast<const char*>(data), length);
    }
  });
  if (!asked.ok() && asked.code() != StatusCode::kNotFound) return asked;
  return found;
}

Result<bool> NatTable::HasSet(const std::string& name) {
  std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)> set(nftnl_set_alloc(), &nftnl_set_free);
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, kTable);
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.c_str());
  char buffer[1024];
  nlmsghdr* message = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSET, NFPROTO_INET, 0, 0);
  nftnl_set_nlmsg_build_payload(message, set.get());
  Status asked = socket_.Ask(message, "look up set " + name, [](const nlmsghdr*) {});
  if (!asked.ok() && asked.code() != StatusCode::kNotFound) return asked;
  return asked.ok();
}

Status NatTable::WriteRules(const NatEntries& entries) {
  NftBatch batch(socket_, kTable);
  WriteTable(batch);
  std::set<Prefix> masquerades;
  std::set<Prefix> hairpins;
  for (const Masquerade& entry : entries.masquerades) masquerades.insert(entry.subnet);
  for (const Forward& forward : entries.forwards) {
    if (forward.snat) hairpins.insert(*forward.snat);
  }
  // Two that do this at once add a jump twice, which changes nothing.
  for (const Prefix& subnet : masquerades) {
    ASSIGN_OR_RETURN(bool present, HasSet(NameOf("masq", subnet)));
    if (!present) WriteMasquerade(batch, subnet);
  }
  for (const Prefix& subnet : hairpins) {
    ASSIGN_OR_RETURN(bool present, HasSet(NameOf("snat_any", subnet)));
    if (!present) WriteHairpin(batch, subnet);
  }
  return batch.Commit("write the nftables table inet davit");
}

Status NatTable::Change(const std::vector<Element>& gone, const std::vector<Element>& fresh) {
  NftBatch batch(socket_, kTable);
  std::map<std::string, std::vector<NftElement>> by_map;
  for (const Element& element : gone) by_map[element.map].push_back({element.key, ""});
  for (const auto& [map, elements] : by_map) batch.RemoveElements(map, elements);
  by_map.clear();
  for (const Element& element : fresh) by_map[element.map].push_back({element.key, element.data});
  for (const auto& [map, elements] : by_map) batch.AddElements(map, elements);
  return batch.Commit("change the nftables table inet davit");
}

Status NatTable::Add(const NatEntries& entries) {
  const std::vector<Element> elements = ElementsOf(entries);
  if (elements.empty()) return {};
  std::vector<Element> stale;
  for (const Element& element : elements) {
    if (element.data.empty()) continue;
    ASSIGN_OR_RETURN(std::optional<std::string> held, Get(element.map, element.key));
    if (!held || *held == element.data) continue;
    const size_t address = element.data.size() - 4;
    if (held->compare(0, address, element.data, 0, address) != 0) {
      return FailedPrecondition(element.what + " leads to " + AddressText(held->substr(0, address)) + " already");
    }
    stale.push_back(element);
  }
  Status changed = Change(stale, elements);
  // No table yet, or no rules of this subnet.
  if (changed.code() != StatusCode::kNotFound) return changed;
  RETURN_IF_ERROR(WriteRules(entries));
  return Change({}, elements);
}

Status NatTable::Remove(const NatEntries& entries) {
  std::vector<Element> ours;
  bool of_another = false;
  for (Element& element : ElementsOf(entries)) {
    ASSIGN_OR_RETURN(std::optional<std::string> held, Get(element.map, element.key));
    // Whose a port is says where it leads; its other element, which follows, says nothing of that.
    const bool port = !element.data.empty();
    const bool of_port = element.map.rfind("snat_", 0) == 0;
    if (port) of_another = held && *held != element.data;
    if (held && !((port || of_port) && of_another)) ours.push_back(std::move(element));
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
