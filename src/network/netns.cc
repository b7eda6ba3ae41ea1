#include "network/netns.h"

#include <unistd.h>

#include "sys/namespaces.h"

namespace davit::network {

Status HardenNamespace() {
  if (::access("/proc/sys/net/ipv6/conf", F_OK) != 0) return {};
  // "default" is what new interfaces start with; "all" alone does not reach them.
  RETURN_IF_ERROR(sys::WriteSysctl("net.ipv6.conf.default.accept_ra", "0"));
  return sys::WriteSysctl("net.ipv6.conf.all.accept_ra", "0");
}

}  // namespace davit::network
