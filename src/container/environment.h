// PodEnvironment: what a container gets from the pod it runs in, as a value. There is no arrow between
// container/ and pod/: the engine fills this from the pod's record.
#pragma once

#include <string>
#include <vector>

#include "container/spec.h"

namespace davit::container {

struct PodEnvironment {
  // Pinned namespaces; empty means the node's own.
  std::string network_namespace;
  std::string ipc_namespace;
  std::string uts_namespace;
  std::string pid_namespace;  // empty: the pod shares none
  std::string user_namespace;
  std::vector<IdMapping> uid_mappings;  // of the user namespace: one each, or none
  std::vector<IdMapping> gid_mappings;
  // Of the container that the request's TARGET names; the engine finds it. Empty: there is none.
  std::string target_pid_namespace;

  std::string hostname;
  // Files and directories that are bind mounted unless the request mounts something there itself.
  // Empty: not provided.
  std::string hosts_file;
  std::string hostname_file;
  std::string resolv_conf;
  std::string shm_directory;

  std::string cgroup;         // of the pod; the container's own lies below
  std::string log_directory;  // of the pod; empty: no logs
  bool privileged = false;    // a privileged container needs a privileged pod

  SelinuxOptions selinux;  // for what the container does not say; its level is the pod's own
  Labels annotations;      // of the pod: read through the handler's allow-list only
};

}  // namespace davit::container
