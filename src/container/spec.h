// What a client asks of a container: the engine's own value types, filled by cri/ from CRI's
// ContainerConfig and kept in the container's record. Field names follow CRI (runtime.v1).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sys/resources.h"

namespace davit::container {

using Labels = std::map<std::string, std::string>;

enum class NamespaceMode { kPod = 0, kContainer = 1, kNode = 2, kTarget = 3 };  // CRI's numbers
enum class MountPropagation { kPrivate = 0, kHostToContainer = 1, kBidirectional = 2 };
enum class ProfileType { kRuntimeDefault = 0, kUnconfined = 1, kLocalhost = 2 };
enum class GroupsPolicy { kMerge = 0, kStrict = 1 };

struct IdMapping {
  uint32_t host_id = 0;
  uint32_t container_id = 0;
  uint32_t length = 0;
};

struct Mount {
  std::string container_path;
  std::string host_path;
  bool readonly = false;
  bool recursive_read_only = false;
  bool selinux_relabel = false;
  MountPropagation propagation = MountPropagation::kPrivate;
  std::string image;  // image volume (KEP-4639): its content instead of a host path
  std::string image_sub_path;
  // A named volume (store/volumes.h) instead of a host path, which is resolved from it when the container is made.
  std::string volume;
  std::string volume_sub_path;  // a directory or file in it, which has to be there
  bool volume_no_copy = false;  // an empty volume does not get what the image has at the path
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::vector<std::string> mount_options;  // "noexec", "nodev", "nosuid"
};

struct Device {
  std::string container_path;
  std::string host_path;
  std::string permissions;  // any of r, w, m
};

struct Capabilities {
  std::vector<std::string> add;  // without or with "CAP_", any case, or "ALL"
  std::vector<std::string> drop;
  std::vector<std::string> add_ambient;
};

struct SecurityProfile {
  ProfileType type = ProfileType::kRuntimeDefault;
  std::string localhost_ref;
};

// Empty parts are the pod's, then the policy's defaults.
struct SelinuxOptions {
  std::string user;
  std::string role;
  std::string type;
  std::string level;
};

struct UserNamespace {  // userns_options
  NamespaceMode mode = NamespaceMode::kNode;
  std::vector<IdMapping> uids;
  std::vector<IdMapping> gids;
};

struct NamespaceOptions {
  NamespaceMode network = NamespaceMode::kPod;
  NamespaceMode pid = NamespaceMode::kPod;
  NamespaceMode ipc = NamespaceMode::kPod;
  std::string target_id;
  std::optional<UserNamespace> user;
};

struct SecurityContext {
  Capabilities capabilities;
  bool privileged = false;
  NamespaceOptions namespaces;
  std::optional<int64_t> run_as_user;
  std::optional<int64_t> run_as_group;
  std::string run_as_username;
  bool readonly_rootfs = false;
  std::vector<int64_t> supplemental_groups;
  GroupsPolicy supplemental_groups_policy = GroupsPolicy::kMerge;
  bool no_new_privs = false;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::optional<SecurityProfile> seccomp;
  std::optional<SecurityProfile> apparmor;
  std::optional<SelinuxOptions> selinux;
};

struct ImageSpec {
  std::string image;  // reference or image ID
  std::string user_specified_image;
  std::string runtime_handler;
  std::map<std::string, std::string> annotations;
};

struct EnvironmentVariable {
  std::string key;
  std::string value;  // bytes
};

// What CRI has no words for: of a container that people or tools made, in Docker's terms. Times are nanoseconds.
struct RestartPolicy {
  std::string name;              // "no", "on-failure", "always", "unless-stopped"
  uint32_t maximum_retries = 0;  // of on-failure; 0: no limit
};

struct HealthCheck {
  std::vector<std::string> test;  // {"CMD", args…} or {"CMD-SHELL", line}
  int64_t interval = 0;
  int64_t timeout = 0;
  int64_t start_period = 0;
  int64_t start_interval = 0;
  uint32_t retries = 0;
  std::string on_failure;  // "none", "kill", "restart", "stop"
};

struct Ulimit {
  std::string name;  // "nofile"
  int64_t soft = 0;  // -1: unlimited
  int64_t hard = 0;
};

struct NamedVolume {
  std::string name;  // empty: anonymous, not made yet
  std::string container_path;
  bool readonly = false;
  bool no_copy = false;
  std::string sub_path;
};

struct StandaloneSpec {
  RestartPolicy restart;
  std::optional<HealthCheck> health;
  bool auto_remove = false;
  std::optional<int64_t> stop_timeout;  // seconds; none: 10, negative: for ever
  std::vector<NamedVolume> volumes;
  bool clear_entrypoint = false;  // without a command the image's entrypoint does not come in
  std::string umask;              // octal; empty: the runtime's
  std::vector<Ulimit> ulimits;
  std::string client_data;     // opaque
  int64_t log_max_bytes = 0;   // of one log file; 0: the configuration's, negative: no limit
  uint32_t log_max_files = 0;  // 0: the configuration's
};

struct ContainerSpec {
  std::string name;
  uint32_t attempt = 0;
  ImageSpec image;
  std::vector<std::string> command;  // replaces the image's entrypoint
  std::vector<std::string> args;     // replaces the image's cmd
  std::string working_dir;
  std::vector<EnvironmentVariable> envs;
  std::vector<Mount> mounts;
  std::vector<Device> devices;
  std::vector<std::string> cdi_devices;  // "vendor.com/class=name"
  Labels labels;
  Labels annotations;
  std::string log_path;  // relative to the pod's log directory
  bool open_stdin = false;
  bool stdin_once = false;
  bool tty = false;
  sys::Resources resources;
  SecurityContext security;
  int stop_signal = 0;                       // Linux signal number; 0 is the image's, else SIGTERM
  std::optional<StandaloneSpec> standalone;  // none: the kubelet's
};

}  // namespace davit::container
