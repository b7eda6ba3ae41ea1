// Procfs: the node's procfs by a descriptor, taken before anything of the container was there.
//
// Whatever stands at /proc of a container is the container's affair (CVE-2019-16884, CVE-2025-52881): sysctls,
// security labels and descriptors are reached below this descriptor only, without links and without crossing a mount.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::native {

class Procfs {
 public:
  // /proc of the caller; kFailedPrecondition when it is not a procfs.
  static Result<Procfs> Open();

  // A file below it: "sys/kernel/shmmax", "1234/ns/net" (with `flags` O_PATH | O_NOFOLLOW never followed).
  Result<sys::UniqueFd> OpenFile(const std::string& path, int flags) const;
  // A file of the calling process: "attr/exec".
  Result<sys::UniqueFd> OpenOwn(const std::string& path, int flags) const;
  // One write(2).
  Status Write(const std::string& path, std::string_view value) const;
  Status WriteOwn(const std::string& path, std::string_view value) const;
  // The same file opened again, for what an O_PATH descriptor cannot do.
  Result<sys::UniqueFd> Reopen(int fd, int flags) const;

  [[nodiscard]] int fd() const { return root_.get(); }

 private:
  explicit Procfs(sys::UniqueFd root) : root_(std::move(root)) {}
  Result<std::string> OwnDirectory() const;
  sys::UniqueFd root_;
};

// From a name with dots or slashes (sysctl(8)): "net.ipv4.conf.eth0/1.rp_filter" -> "net/ipv4/conf/eth0.1/rp_filter".
// kInvalidArgument for ".." and what no sysctl is called.
Result<std::string> SysctlPath(const std::string& name);

// Whether the filesystem of the descriptor has this magic number (statfs(2)).
bool HasMagic(int fd, unsigned long magic);

}  // namespace davit::native
