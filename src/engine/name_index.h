// NameIndex: who is called what on which network, at one instant. Made of a snapshot; immutable.
//
// On a network with names a pod goes by its name (an implicit one has none) and hostname, its containers' names and the
// first twelve digits of their ids, and its aliases; each also with the network's name behind a dot. Some share one.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/snapshot.h"
#include "network/prefix.h"

namespace davit::engine {

class NameIndex {
 public:
  explicit NameIndex(SnapshotPtr view);

  [[nodiscard]] const Snapshot* of() const { return view_.operator->(); }

  // network::NameLookup's find and names. `name`: lower case.
  [[nodiscard]] std::optional<std::vector<network::Address>> Find(const PodId& asker, const std::string& name) const;
  [[nodiscard]] std::optional<std::vector<std::string>> NamesOf(const PodId& asker,
                                                                const network::Address& address) const;

 private:
  struct Zone {
    std::map<std::string, std::vector<network::Address>> addresses;
    std::map<network::Address, std::string> names;  // the best one of each
    std::vector<network::Prefix> subnets;
  };
  void AddPod(const pod::PodRecord& pod, const std::vector<std::string>& names);

  const SnapshotPtr view_;                            // kept, so that no other snapshot has its address
  std::map<std::string, Zone> zones_;                 // by network
  std::map<PodId, std::vector<std::string>> places_;  // networks of each pod
};

}  // namespace davit::engine
