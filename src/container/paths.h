// Where a container's files are, computed from its id alone, so that recovery finds everything from the
// record.
//
//   <state>/containers/<id>/            0700, tmpfs: gone after a reboot
//       bundle/config.json              for the OCI runtime
//       rootfs/                         the overlay's mount point
//       monitor.sock  exit  pid         davit-monitor's (docs/formats/monitor-protocol.md)
//       runtime.log                     what the OCI runtime says (JSON lines)
//       exec/<n>/                       process.json and pid of one exec
//       mounts/<i>  mounts/<i>.image    mounts that Davit makes itself (own_mounts.h); i counts spec.mounts
//   <state>/tty/<id's first 24 digits>   console socket, only while the runtime hands over a terminal
//   <root>/containers/<id>/{upper,work} the writable layer (store::Rootfs)
//   <root>/containers/<id>/volumes/<n>/ volumes that the image declares
#pragma once

#include <string>

#include "base/ids.h"

namespace davit::container {

struct Paths {
  std::string state;  // "/run/davit"

  [[nodiscard]] std::string Directory(const ContainerId& id) const { return state + "/containers/" + id.str(); }
  [[nodiscard]] std::string Bundle(const ContainerId& id) const { return Directory(id) + "/bundle"; }
  [[nodiscard]] std::string Rootfs(const ContainerId& id) const { return Directory(id) + "/rootfs"; }
  [[nodiscard]] std::string Mounts(const ContainerId& id) const { return Directory(id) + "/mounts"; }
  [[nodiscard]] std::string PidFile(const ContainerId& id) const { return Directory(id) + "/pid"; }
  [[nodiscard]] std::string RuntimeLog(const ContainerId& id) const { return Directory(id) + "/runtime.log"; }
  // Short on purpose: OCI runtimes take at most the 107 bytes of sun_path.
  [[nodiscard]] std::string ConsoleDirectory() const { return state + "/tty"; }
  [[nodiscard]] std::string ConsoleSocket(const ContainerId& id) const {
    return ConsoleDirectory() + "/" + id.str().substr(0, 24);
  }
  [[nodiscard]] std::string Execs(const ContainerId& id) const { return Directory(id) + "/exec"; }
};

}  // namespace davit::container
