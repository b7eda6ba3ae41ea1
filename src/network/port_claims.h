// PortClaims: the host ports of standalone pods, so that no two have the same and a port of another program is refused
// when the pod starts. The kubelet's pods are not in it: the scheduler decides about theirs.
//
// A claim is kept in memory, and as far as there is room by a bound socket that nobody listens on: the rules of the
// plugin portmap act before it, and the kernel gives the port to nobody else meanwhile.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "network/network.h"
#include "sys/unique_fd.h"

namespace davit::network {

class PortClaims {
 public:
  // Claims `ports` for the pod, in place of what it had; host ports of 0 become free ones. All or none.
  // kFailedPrecondition naming a port that another pod or program has.
  Result<std::vector<PortMapping>> Claim(const PodId& pod, std::vector<PortMapping> ports);
  // After a start: what the pod has already, whoever else may have it now.
  void Adopt(const PodId& pod, const std::vector<PortMapping>& ports);
  void Release(const PodId& pod);

 private:
  struct Held {
    PortMapping port;
    sys::UniqueFd socket;
  };
  [[nodiscard]] bool Taken(const PortMapping& port) const;

  static constexpr size_t kMaxSockets = 1024;
  mutable std::mutex mutex_;  // held over bind(2), which does not wait
  std::map<PodId, std::vector<Held>> pods_;
  size_t sockets_ = 0;
};

}  // namespace davit::network
