#include "network/port_claims.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "network/prefix.h"

namespace davit::network {
namespace {

constexpr int kRandomTries = 64;

bool IsUnspecified(const std::string& ip) { return ip.empty() || ip == "0.0.0.0" || ip == "::"; }

std::string Describe(const PortMapping& port) {
  return "host port " + (port.host_ip.empty() ? "" : port.host_ip + ":") + std::to_string(port.host_port) + "/" +
         std::string(ProtocolName(port.protocol));
}

// Bound and not listening. An invalid descriptor for a protocol whose sockets may not be there (sctp).
Result<sys::UniqueFd> Bind(PortMapping& port) {
  if (port.protocol == Protocol::kSctp) return sys::UniqueFd();
  const std::optional<Address> address = Address::Parse(port.host_ip.empty() ? "0.0.0.0" : port.host_ip);
  if (!address) return InvalidArgument("host address \"" + port.host_ip + "\" is not an IP address");
  const bool tcp = port.protocol == Protocol::kTcp;
  sys::UniqueFd fd(::socket(address->v6 ? AF_INET6 : AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "open a socket for " + Describe(port));
  const int on = 1;
  // Past connections of another program in TIME_WAIT are no reason to refuse a port that is asked for.
  if (tcp && port.host_port != 0) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage where{};
  socklen_t length = 0;
  if (address->v6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&where);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<uint16_t>(port.host_port));
    std::memcpy(&in6->sin6_addr, address->bytes.data(), 16);
    length = sizeof *in6;
  } else {
    auto* in4 = reinterpret_cast<sockaddr_in*>(&where);
    in4->sin_family = AF_INET;
    in4->sin_port = htons(static_cast<uint16_t>(port.host_port));
    std::memcpy(&in4->sin_addr, address->bytes.data(), 4);
    length = sizeof *in4;
  }
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), length) != 0) {
    if (errno == EADDRINUSE) return FailedPrecondition(Describe(port) + " is in use: port is already allocated");
    return FailedPrecondition(Describe(port) + ": " + std::strerror(errno));
  }
  if (port.host_port == 0) {
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where), &length) != 0) {
      return ErrnoError(errno, "look at " + Describe(port));
    }
    port.host_port = ntohs(address->v6 ? reinterpret_cast<sockaddr_in6*>(&where)->sin6_port
                                       : reinterpret_cast<sockaddr_in*>(&where)->sin_port);
  }
  return fd;
}

bool Collide(const PortMapping& a, const PortMapping& b) {
  return a.protocol == b.protocol && a.host_port == b.host_port &&
         (IsUnspecified(a.host_ip) || IsUnspecified(b.host_ip) || a.host_ip == b.host_ip);
}

}  // namespace

bool PortClaims::Taken(const PortMapping& port) const {
  return std::any_of(pods_.begin(), pods_.end(), [&](const auto& entry) {
    return std::any_of(entry.second.begin(), entry.second.end(),
                       [&](const Held& held) { return Collide(held.port, port); });
  });
}

Result<std::vector<PortMapping>> PortClaims::Claim(const PodId& pod, std::vector<PortMapping> ports) {
  Release(pod);
  std::lock_guard lock(mutex_);
  std::vector<Held> held;
  for (PortMapping& port : ports) {
    const bool random = port.host_port == 0;
    for (int tries = 0;; ++tries) {
      if (!random && Taken(port)) return FailedPrecondition(Describe(port) + " is in use: port is already allocated");
      if (random && port.protocol == Protocol::kSctp) {
        return InvalidArgument("a free port can be chosen for tcp and udp only, not for sctp");
      }
      PortMapping found = port;
      ASSIGN_OR_RETURN(sys::UniqueFd fd, Bind(found));
      const bool twice = std::any_of(held.begin(), held.end(), [&](const Held& h) { return Collide(h.port, found); });
      if (random && (Taken(found) || twice)) {
        if (tries >= kRandomTries) return ResourceExhausted("no host port is free");
        continue;
      }
      port = found;
      held.push_back({found, std::move(fd)});
      break;
    }
  }
  for (Held& h : held) {
    if (sockets_ >= kMaxSockets) h.socket.reset();
    if (h.socket.valid()) ++sockets_;
  }
  if (!held.empty()) pods_[pod] = std::move(held);
  return ports;
}

void PortClaims::Adopt(const PodId& pod, const std::vector<PortMapping>& ports) {
  Release(pod);
  std::lock_guard lock(mutex_);
  for (const PortMapping& port : ports) {
    PortMapping same = port;
    Result<sys::UniqueFd> fd = sockets_ < kMaxSockets ? Bind(same) : Result<sys::UniqueFd>(sys::UniqueFd());
    if (fd.ok() && fd->valid()) ++sockets_;
    pods_[pod].push_back({port, fd.ok() ? std::move(*fd) : sys::UniqueFd()});
  }
}

void PortClaims::Release(const PodId& pod) {
  std::lock_guard lock(mutex_);
  auto it = pods_.find(pod);
  if (it == pods_.end()) return;
  for (const Held& held : it->second) sockets_ -= held.socket.valid() ? 1 : 0;
  pods_.erase(it);
}

}  // namespace davit::network
