// InterfaceCounters: the traffic counters of one network namespace's interfaces.
//
// One descriptor of the namespace's /proc/net/dev (proc_net(5)), read anew each time: one system call, and
// the kernel answers under RCU, where netlink would wait for the RTNL lock that a CNI plugin may be holding.
// The descriptor keeps the namespace alive: close it before the namespace is to go.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

struct InterfaceUse {
  std::string name;
  uint64_t rx_bytes = 0;
  uint64_t rx_packets = 0;
  uint64_t rx_errors = 0;
  uint64_t rx_dropped = 0;
  uint64_t tx_bytes = 0;
  uint64_t tx_packets = 0;
  uint64_t tx_errors = 0;
  uint64_t tx_dropped = 0;
};

// The text of /proc/net/dev; lines that are no interface's are passed over.
std::vector<InterfaceUse> ParseNetDev(std::string_view text);

class InterfaceCounters {
 public:
  // Of the namespace pinned at `netns_path`; joins it in a short-lived thread.
  static Result<InterfaceCounters> Open(const std::string& netns_path);

  // Any thread, several at a time. In the kernel's order, "lo" included.
  Result<std::vector<InterfaceUse>> Read() const;

 private:
  explicit InterfaceCounters(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace davit::sys
