// CRI-O's inspection API: what cAdvisor, in the kubelet, asks of a runtime that it knows by name.
//
//   GET /info              storage and cgroup driver
//   GET /containers/{id}   one container, or one pod as if it had a container called POD
//
// cAdvisor takes a cgroup for CRI-O's when its name begins with "crio" and has an id of 64 characters; it takes the
// labels of the kubelet's series from here, and counts network traffic only for the container POD. Davit's pods have no
// such container: with api.crio_socket each gets an empty cgroup of that name (pod::PodRecord::inspect_cgroup), and its
// process is any that runs in the pod. Names of members are CRI-O's (pkg/types of github.com/cri-o/cri-o); sizes are
// bytes, times nanoseconds.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/snapshot.h"

namespace davit::cri {

// The body for a path; nullopt: there is nothing (404). Reads memory only. `root` is davitd's root.
std::optional<std::string> CrioInspection(std::string_view path, const engine::Snapshot& snapshot,
                                          const std::string& root, bool systemd_cgroups);

}  // namespace davit::cri
