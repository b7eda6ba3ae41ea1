// RouteSocket: links, addresses and routes of one network namespace, changed by rtnetlink(7). The namespace is that of
// the thread that opened the socket, and stays so when the socket is used by another thread.
//
// What is there already or gone already is told by the kernel's own code: kAlreadyExists, kNotFound.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/prefix.h"
#include "sys/unique_fd.h"

struct nlmsghdr;

namespace davit::network {

// A netlink socket with one request in flight; the messages are built with libmnl.
class NetlinkSocket {
 public:
  static Result<NetlinkSocket> Open(int protocol);

  // Sends one request and waits for its acknowledgement. The error is `intent` with the kernel's code.
  Status Request(nlmsghdr* message, const std::string& intent);
  // Sends one request and hands every message of the answer to `take`, to its end.
  Status Ask(nlmsghdr* message, const std::string& intent, const std::function<void(const nlmsghdr*)>& take);
  // `messages`: several requests in one send, of which `last` is the highest sequence number. The first error counts.
  Status Transact(const std::string& messages, uint32_t first, uint32_t last, const std::string& intent);
  uint32_t NextSequence() { return ++sequence_; }

 private:
  explicit NetlinkSocket(sys::UniqueFd fd) : fd_(std::move(fd)) {}
  sys::UniqueFd fd_;
  uint32_t sequence_ = 0;
};

struct LinkState {
  int index = 0;
  int master = 0;
  int mtu = 0;
  unsigned flags = 0;  // IFF_*
  bool oper_up = false;
  std::string name;
  std::string kind;
  std::string mac;  // "02:42:0a:58:00:05"
};

// An address of a link with its prefix length, as it stands there: host bits kept.
struct LinkAddress {
  Address address;
  int length = 0;
  bool tentative = false;

  friend bool operator==(const LinkAddress&, const LinkAddress&) = default;
};

struct VethRequest {
  std::string name;      // of the end that stays in this namespace
  std::string peer;      // of the end in `peer_netns`
  int peer_netns = -1;   // an open namespace
  int mtu = 0;           // 0: the kernel's
  std::string peer_mac;  // empty: the kernel's
  int master = 0;        // index of the bridge
};

class RouteSocket {
 public:
  static Result<RouteSocket> Open();

  Result<LinkState> Find(const std::string& name);  // kNotFound
  Status AddBridge(const std::string& name, int mtu);
  Status AddVeth(const VethRequest& request);
  Status Delete(const std::string& name);
  Status SetUp(int index);
  Status SetPromiscuous(int index);
  Status SetMac(int index, const std::string& mac);
  Status SetHairpin(int index, bool on);  // of a port of a bridge

  Result<std::vector<LinkAddress>> Addresses(int index, bool v6);
  Status AddAddress(int index, const LinkAddress& address);
  Status RemoveAddress(int index, const LinkAddress& address);
  // No gateway: the destination is on the link.
  Status AddRoute(int index, const Prefix& destination, const std::optional<Address>& gateway);
  // The link that packets to `destination` leave by, by name; empty when there is none.
  Result<std::string> LinkTo(const Address& destination);

 private:
  explicit RouteSocket(NetlinkSocket socket) : socket_(std::move(socket)) {}
  Result<LinkState> FindBy(const std::string& name, int index);
  Status ChangeFlags(int index, unsigned flags, const std::string& intent);
  NetlinkSocket socket_;
};

}  // namespace davit::network
