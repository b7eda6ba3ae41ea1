#include "network/nft_batch.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace davit::network {
namespace {

constexpr size_t kMessageBytes = 32 << 10;
constexpr size_t kElementsOfOneMessage = 128;  // of at most 160 bytes each

using Buffer = std::array<char, kMessageBytes>;

nlmsghdr* Header(Buffer& buffer, uint16_t type, uint16_t flags, uint32_t sequence) {
  return nftnl_nlmsg_build_hdr(buffer.data(), type, NFPROTO_INET, flags, sequence);
}

}  // namespace

NftRule::NftRule(const char* table, const std::string& chain) : rule_(nftnl_rule_alloc()) {
  nftnl_rule_set_str(rule_, NFTNL_RULE_TABLE, table);
  nftnl_rule_set_str(rule_, NFTNL_RULE_CHAIN, chain.c_str());
}

NftRule::~NftRule() { nftnl_rule_free(rule_); }

NftRule& NftRule::Meta(uint32_t key, uint32_t to) {
  nftnl_expr* expr = nftnl_expr_alloc("meta");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_META_KEY, key);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_META_DREG, to);
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftRule& NftRule::SetMeta(uint32_t key, uint32_t from) {
  nftnl_expr* expr = nftnl_expr_alloc("meta");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_META_KEY, key);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_META_SREG, from);
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

namespace {

nftnl_expr* Payload(uint32_t base, uint32_t offset, uint32_t length, uint32_t to) {
  nftnl_expr* expr = nftnl_expr_alloc("payload");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_BASE, base);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_LEN, length);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_DREG, to);
  return expr;
}

nftnl_expr* LookupExpression(const std::string& map, uint32_t from, uint32_t to) {
  nftnl_expr* expr = nftnl_expr_alloc("lookup");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_SREG, from);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_DREG, to);
  nftnl_expr_set_str(expr, NFTNL_EXPR_LOOKUP_SET, map.c_str());
  return expr;
}

}  // namespace

NftRule& NftRule::NetworkHeader(uint32_t offset, uint32_t length, uint32_t to) {
  nftnl_rule_add_expr(rule_, Payload(NFT_PAYLOAD_NETWORK_HEADER, offset, length, to));
  return *this;
}

NftRule& NftRule::TransportHeader(uint32_t offset, uint32_t length, uint32_t to) {
  nftnl_rule_add_expr(rule_, Payload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, length, to));
  return *this;
}

NftRule& NftRule::DestinationType(uint32_t to) {
  nftnl_expr* expr = nftnl_expr_alloc("fib");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_FIB_DREG, to);
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftRule& NftRule::Bits(uint32_t at, const std::string& mask, const std::string& flip) {
  nftnl_expr* expr = nftnl_expr_alloc("bitwise");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_BITWISE_SREG, at);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_BITWISE_DREG, at);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_BITWISE_LEN, static_cast<uint32_t>(mask.size()));
  nftnl_expr_set(expr, NFTNL_EXPR_BITWISE_MASK, mask.data(), static_cast<uint32_t>(mask.size()));
  nftnl_expr_set(expr, NFTNL_EXPR_BITWISE_XOR, flip.data(), static_cast<uint32_t>(flip.size()));
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftRule& NftRule::Compare(uint32_t at, const std::string& value, bool equal) {
  nftnl_expr* expr = nftnl_expr_alloc("cmp");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_CMP_SREG, at);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_CMP_OP, equal ? NFT_CMP_EQ : NFT_CMP_NEQ);
  nftnl_expr_set(expr, NFTNL_EXPR_CMP_DATA, value.data(), static_cast<uint32_t>(value.size()));
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftRule& NftRule::Lookup(const std::string& map, uint32_t from, uint32_t to) {
  nftnl_rule_add_expr(rule_, LookupExpression(map, from, to));
  return *this;
}

NftRule& NftRule::Contains(const std::string& set, uint32_t from) {
  nftnl_expr* expr = nftnl_expr_alloc("lookup");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_SREG, from);
  nftnl_expr_set_str(expr, NFTNL_EXPR_LOOKUP_SET, set.c_str());
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftRule& NftRule::Return() {
  nftnl_expr* expr = nftnl_expr_alloc("immediate");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_VERDICT, static_cast<uint32_t>(NFT_RETURN));
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftRule& NftRule::Jump(const std::string& chain) {
  nftnl_expr* expr = nftnl_expr_alloc("immediate");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_VERDICT, static_cast<uint32_t>(NFT_JUMP));
  nftnl_expr_set_str(expr, NFTNL_EXPR_IMM_CHAIN, chain.c_str());
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftRule& NftRule::Masquerade() {
  nftnl_rule_add_expr(rule_, nftnl_expr_alloc("masq"));
  return *this;
}

NftRule& NftRule::Dnat(int family, uint32_t address, uint32_t port) {
  nftnl_expr* expr = nftnl_expr_alloc("nat");
  nftnl_expr_set_u32(expr, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_NAT_FAMILY, static_cast<uint32_t>(family));
  nftnl_expr_set_u32(expr, NFTNL_EXPR_NAT_REG_ADDR_MIN, address);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_NAT_REG_PROTO_MIN, port);
  nftnl_expr_set_u32(expr, NFTNL_EXPR_NAT_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
  nftnl_rule_add_expr(rule_, expr);
  return *this;
}

NftBatch::NftBatch(NetlinkSocket& socket, const char* table) : socket_(socket), table_(table) {
  Buffer buffer;
  first_ = socket_.NextSequence();
  const nlmsghdr* begin = nftnl_batch_begin(buffer.data(), first_);
  bytes_.assign(buffer.data(), begin->nlmsg_len);
}

void NftBatch::Append(const char* message, uint32_t length) {
  last_at_ = bytes_.size();
  bytes_.append(message, length);
  bytes_.resize(MNL_ALIGN(bytes_.size()));
}

void NftBatch::AddTable() {
  Buffer buffer;
  std::unique_ptr<nftnl_table, decltype(&nftnl_table_free)> table(nftnl_table_alloc(), &nftnl_table_free);
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_);
  nlmsghdr* message = Header(buffer, NFT_MSG_NEWTABLE, NLM_F_CREATE, last_ = socket_.NextSequence());
  nftnl_table_nlmsg_build_payload(message, table.get());
  Append(buffer.data(), message->nlmsg_len);
}

void NftBatch::AddChain(const std::string& name) {
  Buffer buffer;
  std::unique_ptr<nftnl_chain, decltype(&nftnl_chain_free)> chain(nftnl_chain_alloc(), &nftnl_chain_free);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, table_);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, name.c_str());
  nlmsghdr* message = Header(buffer, NFT_MSG_NEWCHAIN, NLM_F_CREATE, last_ = socket_.NextSequence());
  nftnl_chain_nlmsg_build_payload(message, chain.get());
  Append(buffer.data(), message->nlmsg_len);
}

void NftBatch::AddNatChain(const std::string& name, uint32_t hook, int priority) {
  Buffer buffer;
  std::unique_ptr<nftnl_chain, decltype(&nftnl_chain_free)> chain(nftnl_chain_alloc(), &nftnl_chain_free);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, table_);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, name.c_str());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TYPE, "nat");
  nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_HOOKNUM, hook);
  nftnl_chain_set_s32(chain.get(), NFTNL_CHAIN_PRIO, priority);
  nlmsghdr* message = Header(buffer, NFT_MSG_NEWCHAIN, NLM_F_CREATE, last_ = socket_.NextSequence());
  nftnl_chain_nlmsg_build_payload(message, chain.get());
  Append(buffer.data(), message->nlmsg_len);
}

void NftBatch::FlushChain(const std::string& name) {
  Buffer buffer;
  NftRule all(table_, name);
  nlmsghdr* message = Header(buffer, NFT_MSG_DELRULE, 0, last_ = socket_.NextSequence());
  nftnl_rule_nlmsg_build_payload(message, all.get());
  Append(buffer.data(), message->nlmsg_len);
}

void NftBatch::RemoveChain(const std::string& name) {
  Buffer buffer;
  std::unique_ptr<nftnl_chain, decltype(&nftnl_chain_free)> chain(nftnl_chain_alloc(), &nftnl_chain_free);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, table_);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, name.c_str());
  nlmsghdr* message = Header(buffer, NFT_MSG_DELCHAIN, 0, last_ = socket_.NextSequence());
  nftnl_chain_nlmsg_build_payload(message, chain.get());
  Append(buffer.data(), message->nlmsg_len);
}

void NftBatch::AddMap(const std::string& name, uint32_t key_type, uint32_t key_length, uint32_t data_type,
                      uint32_t data_length) {
  Buffer buffer;
  std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)> map(nftnl_set_alloc(), &nftnl_set_free);
  nftnl_set_set_str(map.get(), NFTNL_SET_TABLE, table_);
  nftnl_set_set_str(map.get(), NFTNL_SET_NAME, name.c_str());
  nftnl_set_set_u32(map.get(), NFTNL_SET_ID, ++maps_);
  nftnl_set_set_u32(map.get(), NFTNL_SET_FLAGS, data_length > 0 ? NFT_SET_MAP : 0);
  nftnl_set_set_u32(map.get(), NFTNL_SET_KEY_TYPE, key_type);
  nftnl_set_set_u32(map.get(), NFTNL_SET_KEY_LEN, key_length);
  if (data_length > 0) {
    nftnl_set_set_u32(map.get(), NFTNL_SET_DATA_TYPE, data_type);
    nftnl_set_set_u32(map.get(), NFTNL_SET_DATA_LEN, data_length);
  }
  nlmsghdr* message = Header(buffer, NFT_MSG_NEWSET, NLM_F_CREATE, last_ = socket_.NextSequence());
  nftnl_set_nlmsg_build_payload(message, map.get());
  Append(buffer.data(), message->nlmsg_len);
}

void NftBatch::AddRule(const NftRule& rule) {
  Buffer buffer;
  nlmsghdr* message = Header(buffer, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, last_ = socket_.NextSequence());
  nftnl_rule_nlmsg_build_payload(message, rule.get());
  Append(buffer.data(), message->nlmsg_len);
}

void NftBatch::Elements(uint16_t type, uint16_t flags, const std::string& map,
                        const std::vector<NftElement>& elements) {
  for (size_t begin = 0; begin < elements.size(); begin += kElementsOfOneMessage) {
    std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)> set(nftnl_set_alloc(), &nftnl_set_free);
    nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, table_);
    nftnl_set_set_str(set.get(), NFTNL_SET_NAME, map.c_str());
    for (size_t i = begin; i < std::min(elements.size(), begin + kElementsOfOneMessage); ++i) {
      const NftElement& element = elements[i];
      nftnl_set_elem* elem = nftnl_set_elem_alloc();
      nftnl_set_elem_set(elem, NFTNL_SET_ELEM_KEY, element.key.data(), static_cast<uint32_t>(element.key.size()));
      if (!element.data.empty()) {
        nftnl_set_elem_set(elem, NFTNL_SET_ELEM_DATA, element.data.data(), static_cast<uint32_t>(element.data.size()));
      }
      nftnl_set_elem_add(set.get(), elem);
    }
    Buffer buffer;
    nlmsghdr* message = Header(buffer, type, flags, last_ = socket_.NextSequence());
    nftnl_set_elems_nlmsg_build_payload(message, set.get());
    Append(buffer.data(), message->nlmsg_len);
  }
}

void NftBatch::AddElements(const std::string& map, const std::vector<NftElement>& elements) {
  Elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, map, elements);
}

void NftBatch::RemoveElements(const std::string& map, const std::vector<NftElement>& elements) {
  Elements(NFT_MSG_DELSETELEM, 0, map, elements);
}

Status NftBatch::Commit(const std::string& intent) {
  if (last_at_ == 0) return {};
  // The acknowledgement of the last change is sent when all have been made.
  reinterpret_cast<nlmsghdr*>(bytes_.data() + last_at_)->nlmsg_flags |= NLM_F_ACK;
  Buffer buffer;
  const nlmsghdr* end = nftnl_batch_end(buffer.data(), socket_.NextSequence());
  bytes_.append(buffer.data(), end->nlmsg_len);
  return socket_.Transact(bytes_, first_, last_, intent);
}

}  // namespace davit::network
