// NftBatch: one transaction of nftables: all of its changes are made, or none. Built with libnftnl.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/rtnetlink.h"

struct nftnl_rule;

namespace davit::network {

// A rule being written, expression by expression; registers are NFT_REG32_*.
class NftRule {
 public:
  NftRule(const char* table, const std::string& chain);
  NftRule(const NftRule&) = delete;
  NftRule& operator=(const NftRule&) = delete;
  ~NftRule();

  NftRule& Meta(uint32_t key, uint32_t to);
  NftRule& SetMeta(uint32_t key, uint32_t from);
  NftRule& NetworkHeader(uint32_t offset, uint32_t length, uint32_t to);
  NftRule& TransportHeader(uint32_t offset, uint32_t length, uint32_t to);
  NftRule& DestinationType(uint32_t to);  // RTN_* of the packet's destination
  NftRule& Bits(uint32_t at, const std::string& mask, const std::string& flip);
  NftRule& Equals(uint32_t at, const std::string& value) { return Compare(at, value, true); }
  NftRule& Differs(uint32_t at, const std::string& value) { return Compare(at, value, false); }
  NftRule& Lookup(const std::string& map, uint32_t from, uint32_t to);
  NftRule& Contains(const std::string& set, uint32_t from);
  NftRule& Return();
  NftRule& Jump(const std::string& chain);
  NftRule& Masquerade();
  NftRule& Dnat(int family, uint32_t address, uint32_t port);

  [[nodiscard]] nftnl_rule* get() const { return rule_; }

 private:
  NftRule& Compare(uint32_t at, const std::string& value, bool equal);
  nftnl_rule* rule_;
};

struct NftElement {
  std::string key;
  std::string data;  // of a map
};

class NftBatch {
 public:
  // Everything is of the family inet and of this table.
  NftBatch(NetlinkSocket& socket, const char* table);

  void AddTable();
  void AddChain(const std::string& name);
  void AddNatChain(const std::string& name, uint32_t hook, int priority);
  void FlushChain(const std::string& name);
  void RemoveChain(const std::string& name);
  // Types are those of nftables' own program, for its listing.
  void AddSet(const std::string& name, uint32_t key_type, uint32_t key_length) {
    AddMap(name, key_type, key_length, 0, 0);
  }
  void AddMap(const std::string& name, uint32_t key_type, uint32_t key_length, uint32_t data_type,
              uint32_t data_length);
  void AddRule(const NftRule& rule);
  void AddElements(const std::string& map, const std::vector<NftElement>& elements);
  void RemoveElements(const std::string& map, const std::vector<NftElement>& elements);

  Status Commit(const std::string& intent);

 private:
  void Append(const char* message, uint32_t length);
  void Elements(uint16_t type, uint16_t flags, const std::string& map, const std::vector<NftElement>& elements);

  NetlinkSocket& socket_;
  const char* table_;
  std::string bytes_;
  uint32_t first_ = 0;
  uint32_t last_ = 0;
  size_t last_at_ = 0;  // where the last message begins
  uint32_t maps_ = 0;
};

}  // namespace davit::network
