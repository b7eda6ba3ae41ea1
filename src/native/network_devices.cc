#include "native/network_devices.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::native {
namespace {

constexpr size_t kBlock = 32 * 1024;
constexpr size_t kMaxAddresses = 1024;

// One request of rtnetlink(7): a header, a fixed part, attributes.
class Request {
 public:
  template <class Fixed>
  Request(uint16_t type, uint16_t flags, const Fixed& fixed) : bytes_(NLMSG_LENGTH(sizeof(Fixed)), '\0') {
    Header().nlmsg_type = type;
    Header().nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    std::memcpy(bytes_.data() + NLMSG_HDRLEN, &fixed, sizeof(fixed));
  }
  Request& Add(uint16_t type, std::string_view data) {
    rtattr attribute = {};
    attribute.rta_type = type;
    attribute.rta_len = static_cast<uint16_t>(RTA_LENGTH(data.size()));
    size_t at = bytes_.size();
    bytes_.resize(at + RTA_SPACE(data.size()), '\0');
    std::memcpy(bytes_.data() + at, &attribute, sizeof(attribute));
    std::memcpy(bytes_.data() + at + RTA_LENGTH(0), data.data(), data.size());
    return *this;
  }
  std::string_view Finish() {
    Header().nlmsg_len = static_cast<uint32_t>(bytes_.size());
    return bytes_;
  }

 private:
  nlmsghdr& Header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }
  std::string bytes_;
};

std::string_view Bytes(const int& value) { return {reinterpret_cast<const char*>(&value), sizeof(value)}; }

struct Address {
  ifaddrmsg header = {};
  std::vector<std::pair<uint16_t, std::string>> attributes;
};

class Netlink {
 public:
  static Result<Netlink> Open() {
    sys::UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!fd.valid()) return ErrnoError(errno, "open a netlink socket");
    return Netlink(std::move(fd));
  }

  // A request that is answered with success or an error number.
  Status Do(Request request) {
    std::string_view bytes = request.Finish();
    if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) return ErrnoError(errno, "netlink");
    int error = 0;
    RETURN_IF_ERROR(Receive([&](const nlmsghdr& header) {
      if (header.nlmsg_type != NLMSG_ERROR) return false;
      error = -reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(&header))->error;
      return true;
    }));
    return error == 0 ? Status() : ErrnoError(error, "netlink");
  }

  // The addresses that somebody gave the interface to keep.
  Result<std::vector<Address>> Addresses(unsigned index) {
    ifaddrmsg fixed = {};
    Request request(RTM_GETADDR, NLM_F_DUMP, fixed);
    std::string_view bytes = request.Finish();
    if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) return ErrnoError(errno, "netlink");
    std::vector<Address> out;
    RETURN_IF_ERROR(Receive([&](const nlmsghdr& header) {
      if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) return true;
      if (header.nlmsg_type == RTM_NEWADDR) Take(header, index, out);
      return false;
    }));
    return out;
  }

 private:
  explicit Netlink(sys::UniqueFd fd) : fd_(std::move(fd)) {}

  static void Take(const nlmsghdr& header, unsigned index, std::vector<Address>& out) {
    const auto* fixed = static_cast<const ifaddrmsg*>(NLMSG_DATA(&header));
    bool kept = fixed->ifa_scope == RT_SCOPE_UNIVERSE && (fixed->ifa_flags & IFA_F_PERMANENT) != 0;
    if (fixed->ifa_index != index || !kept || out.size() >= kMaxAddresses) return;
    Address address;
    address.header = *fixed;
    auto left = static_cast<unsigned>(header.nlmsg_len - NLMSG_LENGTH(sizeof(ifaddrmsg)));
    for (const rtattr* one = IFA_RTA(fixed); RTA_OK(one, left); one = RTA_NEXT(one, left)) {
      // The label is the old name, and the cache information times that the kernel counts itself.
      if (one->rta_type == IFA_LABEL || one->rta_type == IFA_CACHEINFO) continue;
      address.attributes.emplace_back(one->rta_type,
                                      std::string(static_cast<const char*>(RTA_DATA(one)), RTA_PAYLOAD(one)));
    }
    out.push_back(std::move(address));
  }

  // Messages until `take` says that it was the last.
  template <class F>
  Status Receive(F take) {
    alignas(nlmsghdr) std::array<char, kBlock> block{};
    for (;;) {
      ssize_t got = ::recv(fd_.get(), block.data(), block.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return ErrnoError(errno, "netlink");
      auto left = static_cast<unsigned>(got);
      for (auto* one = reinterpret_cast<nlmsghdr*>(block.data()); NLMSG_OK(one, left); one = NLMSG_NEXT(one, left)) {
        if (take(*one)) return {};
      }
    }
  }

  sys::UniqueFd fd_;
};

struct Moved {
  std::string name;  // inside
  std::vector<Address> addresses;
};

Result<Moved> MoveOne(Netlink& netlink, const std::string& name, const std::string& inside, int target) {
  unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) return NotFound("this node has no such interface");
  Moved moved;
  moved.name = inside.empty() ? name : inside;
  ASSIGN_OR_RETURN(moved.addresses, netlink.Addresses(index));
  ifinfomsg fixed = {};
  fixed.ifi_index = static_cast<int>(index);
  Request request(RTM_NEWLINK, NLM_F_ACK, fixed);
  request.Add(IFLA_NET_NS_FD, Bytes(target))
      .Add(IFLA_IFNAME, std::string_view(moved.name.c_str(), moved.name.size() + 1));
  RETURN_IF_ERROR(netlink.Do(std::move(request)));
  return moved;
}

// In the container's namespace.
Status Arrange(const Moved& moved) {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  unsigned index = ::if_nametoindex(moved.name.c_str());
  if (index == 0) return Internal("the interface did not arrive");
  for (const Address& address : moved.addresses) {
    ifaddrmsg fixed = address.header;
    fixed.ifa_index = index;
    Request request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, fixed);
    for (const auto& [type, data] : address.attributes) request.Add(type, data);
    RETURN_IF_ERROR(netlink.Do(std::move(request)).Annotate("give it its address"));
  }
  ifinfomsg up = {};
  up.ifi_index = static_cast<int>(index);
  up.ifi_flags = IFF_UP;
  up.ifi_change = IFF_UP;
  return netlink.Do(Request(RTM_NEWLINK, NLM_F_ACK, up)).Annotate("set it up");
}

}  // namespace

Status MoveNetworkDevices(const std::map<std::string, std::string>& devices, pid_t pid) {
  ASSIGN_OR_RETURN(sys::UniqueFd own, sys::Open("/proc/self/ns/net", O_RDONLY));
  ASSIGN_OR_RETURN(sys::UniqueFd target, sys::Open(fmt::format("/proc/{}/ns/net", pid), O_RDONLY));
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  for (const auto& [name, inside] : devices) {
    const std::string at = "linux.netDevices." + Printable(name);
    ASSIGN_OR_RETURN_WITH(Moved moved, MoveOne(netlink, name, inside, target.get()), at);
    if (::setns(target.get(), CLONE_NEWNET) != 0) return ErrnoError(errno, at + ": enter the network namespace");
    Status arranged = Arrange(moved);
    if (::setns(own.get(), CLONE_NEWNET) != 0) return ErrnoError(errno, at + ": leave the network namespace");
    RETURN_IF_ERROR(arranged.Annotate(at));
  }
  return {};
}

}  // namespace davit::native
