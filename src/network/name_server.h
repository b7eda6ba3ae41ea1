// NameServer: answers the names that a standalone pod's containers ask for, inside of the pod: at 127.0.0.11, port 53,
// UDP and TCP. Names of containers on the pod's networks are answered from memory; the rest goes to the node's
// resolvers.
//
// Inside, and not on the bridge: no firewall of the node is in the way, no other server of the node has the port, who
// asks is known by the socket, and nothing is left when the namespace goes (docs/adr/0028-names.md). The sockets are
// bound to another port, to which a rule in the namespace leads, so that a container can serve port 53 itself.
//
// When davitd ends, questions wait in vain until the next one has opened the pod again; containers go on.
//
// One thread for all pods, which starts with the first. It asks nobody and waits for nobody: see caps below.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "network/prefix.h"

namespace davit::network {

inline constexpr const char* kResolverAddress = "127.0.0.11";
inline constexpr int kResolverPort = 40053;  // where the sockets are

// What the server asks, on its thread: answers from memory, at once.
struct NameLookup {
  // The addresses of a name, lower case and without the last dot, for this pod. nullopt: nobody's here.
  std::function<std::optional<std::vector<Address>>(const PodId& asker, const std::string& name)> find;
  // The names of an address. nullopt: it is in none of the pod's networks.
  std::function<std::optional<std::vector<std::string>>(const PodId& asker, const Address& address)> names;
  // Addresses of the resolvers that the rest goes to; none: the rest is not there.
  std::function<std::vector<std::string>(const PodId& asker)> servers;
};

class NameServer {
 public:
  explicit NameServer(NameLookup lookup, int upstream_port = 53);
  // Not from a lookup. Closes every socket.
  ~NameServer();
  NameServer(const NameServer&) = delete;
  NameServer& operator=(const NameServer&) = delete;

  // From now on the pod's questions are answered. `fresh`: the namespace has no rule yet. OK for one that is open.
  Status Open(const PodId& pod, const std::string& netns_path, bool fresh);
  // Before the namespace goes: a socket would keep it. Returns when all of the pod's are closed. OK for an unknown one.
  void Close(const PodId& pod);

 private:
  struct State;
  const NameLookup lookup_;
  const int upstream_port_;
  std::mutex starting_;
  std::shared_ptr<State> state_;  // empty until the first Open
};

}  // namespace davit::network
