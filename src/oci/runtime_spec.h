// RuntimeSpec: the config.json of an OCI bundle as typed data, and its one serializer.
//
// Nothing from a request reaches the OCI runtime except through these fields; there is no free-form
// part but `seccomp`, a profile that was rendered by our own code. Annotations are for the composer
// to fill from an allow-list (CVE-2024-3154): runtimes act on some of them.
//
// Source: OCI runtime-spec 1.0.2, config.md and config-linux.md; the fields of 1.1 are used only where
// a comment says so. ociVersion is "1.0.2", which crun 1.8 and runc 1.1 take. Empty or unset fields
// are left out of the JSON. Plain values, no syscalls, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace davit::oci {

inline constexpr std::string_view kRuntimeSpecVersion = "1.0.2";

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
};

// The five sets of capabilities(7), names with "CAP_". inheritable and ambient stay empty unless
// asked for (CVE-2022-24769).
struct CapabilitySets {
  std::vector<std::string> bounding;
  std::vector<std::string> effective;
  std::vector<std::string> inheritable;
  std::vector<std::string> permitted;
  std::vector<std::string> ambient;
};

struct Rlimit {
  std::string type;  // "RLIMIT_NOFILE"
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct ConsoleSize {
  uint32_t width = 0;   // columns
  uint32_t height = 0;  // rows
};

struct Process {
  bool terminal = false;
  std::optional<ConsoleSize> console_size;
  User user;
  std::vector<std::string> args;
  std::vector<std::string> env;                // "K=V"
  std::string cwd = "/";                       // absolute
  std::optional<CapabilitySets> capabilities;  // nullopt: left out, and the runtime decides: always set it
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::optional<int32_t> oom_score_adj;
  std::string apparmor_profile;
  std::string selinux_label;
};

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
  std::string type;  // "pid", "network", "mount", "ipc", "uts", "user", "cgroup"
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

struct DeviceRule {
  bool allow = false;
  char type = 'a';               // 'a', 'b', 'c'
  std::optional<int64_t> major;  // nullopt: any
  std::optional<int64_t> minor;
  std::string access = "rwm";
};

struct MemoryLimits {
  std::optional<int64_t> limit;  // bytes; -1: none
  std::optional<int64_t> reservation;
  std::optional<int64_t> swap;  // memory + swap
  std::optional<uint64_t> swappiness;
  std::optional<bool> disable_oom_killer;
};

struct CpuLimits {
  std::optional<uint64_t> shares;
  std::optional<int64_t> quota;    // microseconds in a period
  std::optional<uint64_t> period;  // microseconds
  std::string cpus;                // "0-3,7"
  std::string mems;
};

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;     // bytes
};

struct Resources {
  std::vector<DeviceRule> devices;  // in order; the last matching rule decides
  MemoryLimits memory;
  CpuLimits cpu;
  std::optional<int64_t> pids_limit;
  std::optional<uint16_t> blkio_weight;
  std::vector<HugepageLimit> hugepage_limits;
  std::map<std::string, std::string> unified;  // cgroup v2 file -> value; from typed features only
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
  Hooks hooks;   // from CDI specifications only
  Linux linux_;  // "linux" is a macro of some compilers
};

// Compact JSON. Texts must be UTF-8 (protobuf and oci/json.h see to it); bytes pass through as they are.
std::string ToJson(const RuntimeSpec& spec);     // config.json
std::string ToJson(const Process& process);      // for `exec --process`
std::string ToJson(const Resources& resources);  // for `update --resources -`

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
// Deny all; then mknod of anything, and the character devices that every container has.
std::vector<DeviceRule> DefaultDeviceRules();
// Everything allowed, for privileged containers.
std::vector<DeviceRule> AllowAllDevices();

}  // namespace davit::oci
