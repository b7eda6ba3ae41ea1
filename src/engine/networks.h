// What readers see of the networks of standalone pods.
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "engine/snapshot.h"
#include "network/named_networks.h"

namespace davit::engine {

struct NetworkMember {
  PodId pod;
  pod::AttachedEndpoint endpoint;
};

struct NetworkView {
  network::NetworkPtr network;
  std::vector<NetworkMember> members;  // of pods that are up
};

// Of `name` in this snapshot.
std::vector<NetworkMember> MembersOf(const Snapshot& view, const std::string& name);

// Ids, with names, of the pods that hold a place on a network, or may hold one: its removal has to wait for them.
std::vector<std::string> HoldersOf(const Snapshot& view, const std::string& name);

}  // namespace davit::engine
