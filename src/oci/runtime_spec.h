// RuntimeSpec: the config.json of an OCI bundle as typed data, and its one serializer. The one reader is
// oci/runtime_spec_reader.h.
//
// Nothing from a request reaches the OCI runtime except through these fields; there is no free-form
// part but `seccomp`, a profile that was rendered by our own code. Annotations are for the composer
// to fill from an allow-list (CVE-2024-3154): runtimes act on some of them.
//
// Source: OCI runtime-spec 1.3.0, config.md and config-linux.md, the whole of its Linux part. What davitd composes
// (container/runtime_spec.h) keeps to 1.0.2 but where a comment there says otherwise, and is written with ociVersion
// "1.0.2", which crun 1.8 and runc 1.1 take. Empty or unset fields are left out of the JSON. Plain values, no
// syscalls, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci/runtime_process.h"    // IWYU pragma: export
#include "oci/runtime_resources.h"  // IWYU pragma: export
#include "oci/runtime_seccomp.h"    // IWYU pragma: export

namespace davit::oci {

inline constexpr std::string_view kRuntimeSpecVersion = "1.0.2";

struct Root {
  std::string path = "rootfs";  // absolute, or relative to the bundle
  bool readonly = false;
};

struct IdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
};

struct SpecMount {
  std::string destination;  // absolute, inside the container
  std::string type;         // "bind", "proc", …
  std::string source;
  std::vector<std::string> options;
  std::vector<IdMapping> uid_mappings;  // 1.1: idmapped mount
  std::vector<IdMapping> gid_mappings;
};

struct Namespace {
  std::string type;  // "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"
  std::string path;  // empty: a new one
};

struct Device {
  std::string path;  // inside the container
  char type = 'c';   // 'c', 'b', 'p', 'u'
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint32_t> file_mode;  // permission bits
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
};

// Cache and memory bandwidth control (resctrl).
struct IntelRdt {
  std::string clos_id;                // empty: the container's id
  std::vector<std::string> schemata;  // 1.3: whole lines, written after the next two
  std::string l3_cache_schema;        // "L3:0=f;1=f0"
  std::string mem_bw_schema;          // "MB:0=20"
  bool enable_monitoring = false;     // 1.3: a monitoring group of the container's own
};

// 1.3: set_mempolicy(2).
struct MemoryPolicy {
  std::string mode;                // "MPOL_BIND"
  std::string nodes;               // "0-1"
  std::vector<std::string> flags;  // "MPOL_F_STATIC_NODES"
};

struct Personality {
  std::string domain;  // "LINUX", "LINUX32"
  std::vector<std::string> flags;
};

struct TimeOffset {
  int64_t secs = 0;
  uint32_t nanosecs = 0;
};

struct Linux {
  std::vector<Namespace> namespaces;
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::vector<Device> devices;
  Resources resources;
  std::string cgroups_path;        // "/kubepods/pod1/id", or "slice:prefix:name" for systemd
  std::string rootfs_propagation;  // "rslave", "rshared", "rprivate"
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::map<std::string, std::string> sysctl;
  std::string seccomp;  // a whole JSON object, rendered by us; empty: none
  std::string mount_label;
  std::optional<Seccomp> seccomp_rules = {};            // what the reader makes of it; written when `seccomp` is empty
  std::map<std::string, std::string> net_devices = {};  // 1.3: the host's name -> its name inside
  std::optional<IntelRdt> intel_rdt = {};
  std::optional<MemoryPolicy> memory_policy = {};
  std::optional<Personality> personality = {};
  std::map<std::string, TimeOffset> time_offsets = {};  // "monotonic", "boottime"
};

// A program that the runtime runs at one point of the container's life, as root on the host.
struct Hook {
  std::string path;                // absolute
  std::vector<std::string> args;   // argv, args[0] included
  std::vector<std::string> env;    // all of it: nothing is inherited
  std::optional<int64_t> timeout;  // seconds
};

struct Hooks {
  std::vector<Hook> prestart;  // deprecated by the runtime-spec, still in use
  std::vector<Hook> create_runtime;
  std::vector<Hook> create_container;
  std::vector<Hook> start_container;
  std::vector<Hook> poststart;
  std::vector<Hook> poststop;
};

struct RuntimeSpec {
  Process process;
  Root root;
  std::string hostname;
  std::vector<SpecMount> mounts;  // in order
  std::map<std::string, std::string> annotations;
  Hooks hooks;                  // from CDI specifications only
  Linux linux_;                 // "linux" is a macro of some compilers
  std::string domainname = {};  // 1.1: NIS domain name of the UTS namespace
  std::string oci_version = std::string(kRuntimeSpecVersion);
};

// Compact JSON. Texts must be UTF-8 (protobuf and oci/json.h see to it); bytes pass through as they are.
std::string ToJson(const RuntimeSpec& spec);  // config.json

// --- Defaults: functions, so that each caller has its own copy to change ---

// proc, /dev (tmpfs), /dev/pts, /dev/mqueue, /sys (read-only) and /sys/fs/cgroup (read-only), in this
// order. The caller adds /dev/shm.
std::vector<SpecMount> DefaultMounts();
// Kernel interfaces that leak from the host or write to it. Paths that a kernel lacks do no harm.
// `cpus`: adds cpu0 to cpu<cpus-1>/thermal_throttle; each path costs a mount, so pass the count only
// where /sys/devices/system/cpu/cpu0/thermal_throttle exists.
std::vector<std::string> DefaultMaskedPaths(unsigned cpus = 0);
std::vector<std::string> DefaultReadonlyPaths();
// The fourteen that containers customarily keep, with "CAP_", sorted.
std::vector<std::string> DefaultCapabilities();

}  // namespace davit::oci
