// Where a pod's files are, computed from its id alone.
//
//   <state>/pods/<id>/ns/{user,net,ipc,uts,pid}                  pinned namespaces
//   <state>/pods/<id>/files/{hosts,hostname,resolv.conf}    bind mounted into every container
//   <state>/pods/<id>/shm/                                  the /dev/shm that its containers share
#pragma once

#include <string>

#include "base/ids.h"

namespace davit::pod {

struct Paths {
  std::string state;  // "/run/davit"

  [[nodiscard]] std::string Directory(const PodId& id) const { return state + "/pods/" + id.str(); }
  [[nodiscard]] std::string Namespaces(const PodId& id) const { return Directory(id) + "/ns"; }
  [[nodiscard]] std::string Namespace(const PodId& id, const std::string& kind) const {
    return Namespaces(id) + "/" + kind;
  }
  [[nodiscard]] std::string Files(const PodId& id) const { return Directory(id) + "/files"; }
  [[nodiscard]] std::string Shm(const PodId& id) const { return Directory(id) + "/shm"; }
};

}  // namespace davit::pod
